// SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause
// Programs with functions that extensions replace, and the extensions.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

/* The assembly hides the result, so that the compiler keeps the call. */
__attribute__((noinline)) int limit(struct xdp_md *ctx, int number)
{
	int answer = XDP_PASS;

	asm volatile("%0 += 0" : "+r"(answer) : "r"(number), "r"(ctx));
	return answer;
}

static __attribute__((noinline)) int own(int number)
{
	asm volatile("%0 += 0" : "+r"(number));
	return number;
}

SEC("xdp")
int filter(struct xdp_md *ctx)
{
	return limit(ctx, own(ctx->rx_queue_index));
}

SEC("xdp")
int beside(struct xdp_md *ctx)
{
	return limit(ctx, 7);
}

__attribute__((noinline)) int judge(struct __sk_buff *skb)
{
	int answer = -1;

	asm volatile("%0 += 0" : "+r"(answer) : "r"(skb));
	return answer;
}

SEC("tcx/ingress")
int gate(struct __sk_buff *skb)
{
	return judge(skb);
}

__attribute__((noinline)) int watched(int number)
{
	asm volatile("%0 += 0" : "+r"(number));
	return number;
}

SEC("tracepoint/sched/sched_switch")
int watch(void *ctx)
{
	return watched(1);
}

SEC("freplace/limit")
int drops(struct xdp_md *ctx, int number)
{
	return XDP_DROP;
}

SEC("freplace/limit")
int aborts(struct xdp_md *ctx, int number)
{
	return number & 0;
}

SEC("freplace")
int anywhere(struct xdp_md *ctx, int number)
{
	return XDP_TX;
}

SEC("freplace/limit")
int takes_less(struct xdp_md *ctx)
{
	return XDP_DROP;
}

SEC("freplace/filter")
int passes_none(struct xdp_md *ctx)
{
	return XDP_DROP;
}

SEC("freplace/judge")
int judges_otherwise(struct __sk_buff *skb)
{
	return -1;
}

SEC("freplace/watched")
int watches_more(int number)
{
	return number + 1;
}

/* In a tenant's program, this would replace the guard. */
SEC("freplace/watch")
int instead_of_watch(void *ctx)
{
	return 0;
}

SEC("freplace/watched")
int reads_memory(int number)
{
	char byte;

	return bpf_probe_read_kernel(&byte, 1, (void *)(long)number);
}

char _license[] SEC("license") = "GPL";
