// feature: trampolines of functions of the kernel
// since: 5.10
#include "corpus.h"

SEC("fentry/vfs_read") int BPF_PROG(enter, void *file) { return 0; }
SEC("fexit/vfs_read") int BPF_PROG(leave, void *file, char *buffer, unsigned long count, long long *pos, long result) { return 0; }
SEC("fmod_ret/security_file_permission") int BPF_PROG(changes, void *file, int mask, int result) { return result; }
