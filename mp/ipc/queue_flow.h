#ifndef MP_IPC_QUEUE_FLOW_H_
#define MP_IPC_QUEUE_FLOW_H_

#include <cstddef>

#include "mp/ipc/queue_carriers.h"
#include "mp/testing/paired_benchmark.h"

// How fast messages go from processes to processes, for queue_ratios.
namespace mp {

// Where processes run.
enum class Placement {
  kAnywhere,
  kTwoCores,  // the first producer and consumer on one each
  kOneCore,   // all of them
};

struct Flow {
  int producers = 1;
  int consumers = 1;
  size_t message_bytes = 64;
  Placement placement = Placement::kAnywhere;
};

// Returns how long so many messages take from the first Put() to the last
// Get(). The processes are there before.
testing::Measure FlowTime(const Flow& flow, MakeCarrier make);

// Returns how long so many messages take to another process and back.
testing::Measure RoundTripTime(size_t message_bytes, Placement placement,
                               MakeCarrier make);

// In this process, one after another.
testing::Measure CopyTime(size_t message_bytes);

}  // namespace mp

#endif  // MP_IPC_QUEUE_FLOW_H_
