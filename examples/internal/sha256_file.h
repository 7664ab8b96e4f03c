#ifndef EXAMPLES_INTERNAL_SHA256_FILE_H_
#define EXAMPLES_INTERNAL_SHA256_FILE_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"

// libcrypto's own types, so that its headers stay out of this one.
struct evp_md_ctx_st;
struct evp_md_st;

namespace examples {

using Sha256Digest = std::array<uint8_t, 32>;

// Hashes one file after the other.
//
// Example:
//   MP_ASSIGN_OR_RETURN(auto hasher, Sha256FileHasher::Create());
//   MP_ASSIGN_OR_RETURN(Sha256Digest digest,
//                       hasher.Hash("notes.txt", [](size_t) {
//                         return absl::OkStatus();
//                       }));
//
// Owns:    a buffer of 128 KiB.
// Threads: not safe; one hasher for each thread.
class Sha256FileHasher {
 public:
  // Errors:
  //   kUnimplemented  this libcrypto has no SHA-256.
  static absl::StatusOr<Sha256FileHasher> Create();

  // Returns the digest of a regular file; one that is a symbolic link is an
  // error. `on_read` is told how many bytes each read gave; if it returns an
  // error, that is the result.
  //
  // Never waits for the other end of a FIFO that has taken the file's place,
  // nor is harmed by a file that is cut short meanwhile.
  //
  // Errors: the code fits, and the message is the text of errno and no more, as
  // for "sha256sum: NAME: MESSAGE".
  absl::StatusOr<Sha256Digest> Hash(
      const std::string& path,
      absl::FunctionRef<absl::Status(size_t bytes)> on_read);

 private:
  struct Free {
    void operator()(evp_md_ctx_st* context) const;
    void operator()(evp_md_st* algorithm) const;
  };

  Sha256FileHasher(std::unique_ptr<evp_md_st, Free> algorithm,
                   std::unique_ptr<evp_md_ctx_st, Free> context);

  std::unique_ptr<evp_md_st, Free> algorithm_;
  std::unique_ptr<evp_md_ctx_st, Free> context_;
  std::vector<char> buffer_;
};

}  // namespace examples

#endif  // EXAMPLES_INTERNAL_SHA256_FILE_H_
