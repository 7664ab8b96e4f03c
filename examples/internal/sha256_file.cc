#include "examples/internal/sha256_file.h"

#include <fcntl.h>
#include <openssl/evp.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <memory>
#include <string>
#include <system_error>
#include <utility>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "mp/base/fd.h"
#include "mp/base/io.h"
#include "mp/base/status_macros.h"

namespace examples {
namespace {

constexpr size_t kBufferBytes = 128 << 10;

absl::Status PlainError(int error) {
  return absl::Status(absl::ErrnoToStatusCode(error),
                      std::generic_category().message(error));
}

// Between the listing and now, the file may have become anything.
absl::StatusOr<mp::Fd> OpenRegularFile(const std::string& path) {
  mp::Fd file(mp::RetryOnEintr([&] {
    return open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
  }));
  if (!file.is_open()) return PlainError(errno);
  struct stat info;
  if (fstat(file.get(), &info) != 0) return PlainError(errno);
  if (S_ISDIR(info.st_mode)) return PlainError(EISDIR);
  if (!S_ISREG(info.st_mode)) {
    return absl::FailedPreconditionError("Not a regular file any more");
  }
  if (static_cast<size_t>(info.st_size) > kBufferBytes) {
    posix_fadvise(file.get(), 0, 0, POSIX_FADV_SEQUENTIAL);  // only a hint
  }
  return file;
}

}  // namespace

void Sha256FileHasher::Free::operator()(EVP_MD_CTX* context) const {
  EVP_MD_CTX_free(context);
}
void Sha256FileHasher::Free::operator()(EVP_MD* algorithm) const {
  EVP_MD_free(algorithm);
}

Sha256FileHasher::Sha256FileHasher(std::unique_ptr<EVP_MD, Free> algorithm,
                                   std::unique_ptr<EVP_MD_CTX, Free> context)
    : algorithm_(std::move(algorithm)),
      context_(std::move(context)),
      buffer_(kBufferBytes) {}

absl::StatusOr<Sha256FileHasher> Sha256FileHasher::Create() {
  // Fetched once: EVP_sha256() would look it up again for every file.
  std::unique_ptr<EVP_MD, Free> algorithm(
      EVP_MD_fetch(nullptr, "SHA2-256", nullptr));
  std::unique_ptr<EVP_MD_CTX, Free> context(EVP_MD_CTX_new());
  if (algorithm == nullptr || context == nullptr) {
    return absl::UnimplementedError("libcrypto has no SHA-256");
  }
  return Sha256FileHasher(std::move(algorithm), std::move(context));
}

absl::StatusOr<Sha256Digest> Sha256FileHasher::Hash(
    const std::string& path, absl::FunctionRef<absl::Status(size_t)> on_read) {
  MP_ASSIGN_OR_RETURN(const mp::Fd file, OpenRegularFile(path));
  bool good = EVP_DigestInit_ex2(context_.get(), algorithm_.get(), nullptr);
  while (good) {
    const ssize_t got = mp::RetryOnEintr(
        [&] { return read(file.get(), buffer_.data(), buffer_.size()); });
    if (got < 0) return PlainError(errno);
    if (got == 0) break;
    good = EVP_DigestUpdate(context_.get(), buffer_.data(), got);
    MP_RETURN_IF_ERROR(on_read(got));
  }
  Sha256Digest digest;
  good = good && EVP_DigestFinal_ex(context_.get(), digest.data(), nullptr);
  if (!good) return absl::InternalError("libcrypto: EVP_Digest failed");
  return digest;
}

}  // namespace examples
