// feature: programs in the place of functions of others
// since: 5.10
#include "corpus.h"

__attribute__((noinline)) int limit(struct xdp_md *ctx, int queue)
{
	int answer = XDP_PASS;

	asm volatile("%0 += 0" : "+r"(answer) : "r"(queue), "r"(ctx));
	return answer;
}

SEC("xdp")
int limited(struct xdp_md *ctx)
{
	return limit(ctx, ctx->rx_queue_index);
}

SEC("freplace/limit")
int limit_of_others(struct xdp_md *ctx, int queue)
{
	return queue > 3 ? XDP_DROP : XDP_PASS;
}

SEC("freplace/limited")
int whole(struct xdp_md *ctx)
{
	return XDP_DROP;
}
