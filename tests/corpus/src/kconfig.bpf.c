// feature: the kernel's configuration and version
// since: 5.10
#include "corpus.h"

extern int LINUX_KERNEL_VERSION __kconfig;
extern bool LINUX_HAS_SYSCALL_WRAPPER __kconfig __weak;
extern bool LINUX_HAS_BPF_COOKIE __kconfig __weak;
extern int CONFIG_HZ __kconfig;
extern bool CONFIG_BPF __kconfig;
extern enum libbpf_tristate CONFIG_IPV6 __kconfig __weak;
extern unsigned long CONFIG_NO_SUCH_THING __kconfig __weak;
extern char CONFIG_DEFAULT_HOSTNAME[8] __kconfig __weak;
extern char CONFIG_BPF_SYSCALL __kconfig __weak;
SEC("tc") int reads(struct __sk_buff *skb)
{
	unsigned int sum = LINUX_KERNEL_VERSION * 31 + CONFIG_HZ;
	sum = sum * 31 + LINUX_HAS_SYSCALL_WRAPPER * 2 + LINUX_HAS_BPF_COOKIE;
	sum = sum * 31 + CONFIG_BPF;
	sum = sum * 31 + CONFIG_IPV6;
	sum = sum * 31 + CONFIG_NO_SUCH_THING;
	sum = sum * 31 + CONFIG_DEFAULT_HOSTNAME[1];
	return sum * 31 + CONFIG_BPF_SYSCALL;
}
