#include "mp/process/auth_key.h"

#include "mp/process/process.h"

void Work(const mp::AuthKey&) {}

int main() { mp::Process p(Work, mp::AuthKey::Random()); }
