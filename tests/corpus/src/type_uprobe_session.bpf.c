// feature: probes of both ends of functions of a program
// since: 6.13
#include "corpus.h"

SEC("uprobe.session//bin/sh:ma*") int both(void *ctx) { return 0; }
SEC("uprobe.session.s//bin/sh:ma*") int both_sleep(void *ctx) { return 0; }
