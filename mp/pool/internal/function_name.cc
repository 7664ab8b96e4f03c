#include "mp/pool/internal/function_name.h"

#include <cxxabi.h>
#include <dlfcn.h>
#include <elf.h>
#include <fcntl.h>
#include <link.h>

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/string_view.h"
#include "mp/base/fd.h"
#include "mp/base/io.h"

namespace mp::internal {
namespace {

std::string Demangle(const char* mangled) {
  int error;
  const std::unique_ptr<char, decltype(&std::free)> name(
      abi::__cxa_demangle(mangled, nullptr, nullptr, &error), &std::free);
  return error == 0 ? name.get() : mangled;
}

// The things of type T that lie one after the other in a file; none if they do
// not lie within it.
template <typename T>
class Table {
 public:
  Table(absl::string_view file, uint64_t offset, uint64_t bytes)
      : bytes_(offset <= file.size() && bytes <= file.size() - offset
                   ? file.substr(offset, bytes)
                   : absl::string_view()) {}

  size_t size() const { return bytes_.size() / sizeof(T); }
  T at(size_t i) const {
    T thing;
    std::memcpy(&thing, bytes_.data() + i * sizeof(T), sizeof(T));
    return thing;
  }

 private:
  absl::string_view bytes_;
};

using Section = ElfW(Shdr);
using Symbol = ElfW(Sym);

// Returns the name of a function in the symbols of an ELF file.
std::optional<std::string> FindSymbol(absl::string_view file,
                                      const Section& symbols,
                                      const Section& names, uint64_t address) {
  const Table<Symbol> table(file, symbols.sh_offset, symbols.sh_size);
  const Table<char> texts(file, names.sh_offset, names.sh_size);
  for (size_t i = 0; i < table.size(); ++i) {
    const Symbol symbol = table.at(i);
    if (symbol.st_value != address || symbol.st_shndx == SHN_UNDEF ||
        (symbol.st_info & 0xF) != STT_FUNC) {
      continue;
    }
    std::string name;
    for (size_t at = symbol.st_name; at < texts.size(); ++at) {
      if (texts.at(at) == '\0') return name;
      name += texts.at(at);
    }
  }
  return std::nullopt;
}

std::optional<std::string> FindSymbol(absl::string_view file, uint64_t address,
                                      uint64_t base) {
  if (file.size() < sizeof(ElfW(Ehdr)) || !absl::StartsWith(file, ELFMAG)) {
    return std::nullopt;
  }
  const ElfW(Ehdr) head = Table<ElfW(Ehdr)>(file, 0, sizeof(head)).at(0);
  if (head.e_shentsize != sizeof(Section)) return std::nullopt;
  if (head.e_type == ET_DYN) address -= base;
  const Table<Section> sections(file, head.e_shoff,
                                uint64_t{head.e_shnum} * sizeof(Section));
  for (size_t i = 0; i < sections.size(); ++i) {
    const Section section = sections.at(i);
    if (section.sh_type != SHT_SYMTAB || section.sh_link >= sections.size()) {
      continue;
    }
    auto name =
        FindSymbol(file, section, sections.at(section.sh_link), address);
    if (name.has_value()) return name;
  }
  return std::nullopt;
}

// Of functions that the dynamic linker knows, and else of those in the file
// that was loaded. (absl::Symbolize() keeps files open, across execve(2) too.)
std::optional<std::string> SymbolName(const void* address) {
  Dl_info image;
  if (dladdr(address, &image) == 0) return std::nullopt;
  if (image.dli_sname != nullptr && image.dli_saddr == address) {
    return image.dli_sname;
  }
  Fd file(open(image.dli_fname, O_RDONLY | O_CLOEXEC));
  if (!file.is_open()) file = Fd(open("/proc/self/exe", O_RDONLY | O_CLOEXEC));
  if (!file.is_open()) return std::nullopt;
  const absl::StatusOr<std::string> bytes = ReadToEnd(file.get());
  if (!bytes.ok()) return std::nullopt;
  return FindSymbol(*bytes, reinterpret_cast<uintptr_t>(address),
                    reinterpret_cast<uintptr_t>(image.dli_fbase));
}

}  // namespace

std::string FunctionName(const FunctionId& id) {
  if (id.address != nullptr) {
    const std::optional<std::string> symbol = SymbolName(id.address);
    if (symbol.has_value()) return Demangle(symbol->c_str());
  }
  Dl_info image;
  if (id.type == nullptr || dladdr(id.type, &image) == 0) return "?";
  return Demangle(id.type->name());
}

}  // namespace mp::internal
