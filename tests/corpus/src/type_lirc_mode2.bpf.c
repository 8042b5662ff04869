// feature: signals of remote controls
// since: 4.18
// built-in: lirc_fh
#include "corpus.h"

SEC("lirc_mode2") int signal(unsigned int *sample) { return *sample & 1; }
