// feature: variables of every section, and of sections of one's own
// since: 5.10
#include "corpus.h"

int zero;
int set = 3;
const int constant = 5;
const volatile int told = 7;
static volatile int hidden = 11;
int own SEC(".data.own") = 13;
const volatile int own_constant SEC(".rodata.own") = 17;
int own_zero SEC(".bss.own");
struct { int a; long long b[2]; } wide = { 1, { 2, 3 } };

SEC("tc") int sums(struct __sk_buff *skb)
{
	zero++;
	own_zero += 2;
	hidden += 1;
	return zero + set + constant + told + hidden + own + own_constant + own_zero + wide.a + (int)wide.b[1];
}
