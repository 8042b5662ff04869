// feature: objects linked of several, with functions and variables across
// since: 5.10
// linked-with: linked_part.c
#include "corpus.h"

extern int part_count;
int part_adds(int value);
int whole_count = 20;
SEC("tc") int uses(struct __sk_buff *skb) { return part_adds(1) + part_count; }
