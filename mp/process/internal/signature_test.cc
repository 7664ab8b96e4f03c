#include "mp/process/internal/signature.h"

#include <functional>
#include <memory>
#include <string>
#include <tuple>
#include <type_traits>
#include <vector>

#include "gtest/gtest.h"

// What is tested are types, so that the test passes if it compiles.
namespace mp::internal {
namespace {

template <typename F>
constexpr bool kKnown = Signature<F>::kKnown;
template <typename Types, typename F>
constexpr bool kTakes = std::is_same_v<typename Signature<F>::Types, Types>;
// Whether the arguments A of an F are kept as a Tuple.
template <typename Tuple, typename F, typename... A>
constexpr bool kKeeps =
    std::is_same_v<typename ArgumentsOf<F, A...>::Tuple, Tuple>;

struct Object {
  void Plain(int) {}
  void Const(int) const {}
  void Noexcept(int) noexcept {}
  void ConstNoexcept(int) const noexcept {}
  void Lvalue(int) & {}
  void ConstLvalue(int) const& {}
  void Rvalue(int) && {}
};

struct Overloaded {
  void operator()(int) const {}
  void operator()(const std::string&) const {}
};

struct Call {
  int operator()(int, const std::string&) const { return 0; }
};

TEST(SignatureTest, FunctionsHaveTheirParameters) {
  static_assert(kTakes<std::tuple<>, void (*)()>);
  static_assert(
      kTakes<std::tuple<int, std::string&>, int (*)(int, std::string&)>);
  static_assert(kTakes<std::tuple<const int&>, int (*)(const int&) noexcept>);
}

TEST(SignatureTest, MemberFunctionsTakeTheObjectFirst) {
  static_assert(kTakes<std::tuple<Object, int>, decltype(&Object::Plain)>);
  static_assert(kTakes<std::tuple<Object, int>, decltype(&Object::Const)>);
  static_assert(kTakes<std::tuple<Object, int>, decltype(&Object::Noexcept)>);
  static_assert(
      kTakes<std::tuple<Object, int>, decltype(&Object::ConstNoexcept)>);
  static_assert(kTakes<std::tuple<Object, int>, decltype(&Object::Lvalue)>);
  static_assert(
      kTakes<std::tuple<Object, int>, decltype(&Object::ConstLvalue)>);
  static_assert(kTakes<std::tuple<Object, int>, decltype(&Object::Rvalue)>);
}

TEST(SignatureTest, FunctionObjectsHaveThoseOfTheirOperator) {
  static_assert(kTakes<std::tuple<int, const std::string&>, Call>);
  const auto lambda = [](double) {};
  static_assert(
      kTakes<std::tuple<double>, std::remove_const_t<decltype(lambda)>>);
}

TEST(SignatureTest, SomeCallablesHaveSeveral) {
  static_assert(!kKnown<Overloaded>);
  const auto lambda = [](auto) {};
  static_assert(!kKnown<std::remove_const_t<decltype(lambda)>>);
  static_assert(!kKnown<int (*)(const char*, ...)>);
}

TEST(SignatureTest, ArgumentsAreKeptAsTheParametersByValue) {
  static_assert(kKeeps<std::tuple<>, void (*)()>);
  static_assert(
      kKeeps<std::tuple<int, std::string>, Call, char, const char(&)[4]>);
  static_assert(kKeeps<std::tuple<std::vector<int>>,
                       void (*)(const std::vector<int>&), std::vector<int>&>);
  static_assert(
      kKeeps<std::tuple<std::unique_ptr<int>>,
             void (*)(std::unique_ptr<int> &&), std::unique_ptr<int>>);
  static_assert(
      kKeeps<std::tuple<int (*)(int)>, void (*)(int (&)(int)), int (*)(int)>);
  static_assert(
      kKeeps<std::tuple<Object, int>, decltype(&Object::Const), Object&, int>);
}

TEST(SignatureTest, FirstArgumentsMayBeKeptAlone) {
  using F = void (*)(const std::string&, int, std::vector<int>&);
  static_assert(kKeeps<std::tuple<>, F>);
  static_assert(kKeeps<std::tuple<std::string>, F, const char*>);
  static_assert(kKeeps<std::tuple<std::string, int>, F, const char*, int>);
}

TEST(SignatureTest, ArgumentsOfUnknownParametersAreKeptAsTheyAre) {
  using F = Overloaded;
  static_assert(kKeeps<std::tuple<int, std::vector<int>>, F, const int&,
                       std::vector<int>&&>);
  static_assert(kKeeps<std::tuple<std::string>, F, const char(&)[4]>);
  static_assert(kKeeps<std::tuple<std::string>, F, char(&)[4]>);
  static_assert(kKeeps<std::tuple<const char*>, F, const char*>);
}

TEST(SignatureTest, ArgumentsConvertAsInACall) {
  using F = void (*)(const std::string&, const std::function<void()>&);
  static_assert(CheckArguments<F, const char*, void (*)()>());
  static_assert(CheckArguments<void (*)(std::unique_ptr<const int>),
                               std::unique_ptr<int>>());
  static_assert(CheckArguments<void (*)()>());
}

}  // namespace
}  // namespace mp::internal
