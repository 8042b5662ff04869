// feature: trampolines of functions of the kernel that may sleep
// since: 5.11
// built-in: ei_entry
#include "corpus.h"

#if defined(__TARGET_ARCH_arm64)
#define CALL "__arm64_sys_getpgid"
#else
#define CALL "__x64_sys_getpgid"
#endif
char buffer[8];
SEC("fentry.s/" CALL) int enter(void *ctx) { return bpf_copy_from_user(buffer, sizeof(buffer), 0) ? 0 : 0; }
SEC("fexit.s/" CALL) int leave(void *ctx) { return 0; }
SEC("fmod_ret.s/" CALL) int changes(void *ctx) { return 0; }
