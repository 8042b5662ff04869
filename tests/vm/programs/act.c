// SPDX-License-Identifier: Apache-2.0
//
// Makes the calls that programs of the matrix observe, a given number of times:
//   act mkdir N         makes the root folder, which exists
//   act truncate N      shortens the root folder to 7 bytes, which is refused: a folder has no length
//   act new PATH        makes a folder; prints "made" or the error
//   act open N          opens /dev/null
//   act probe N         calls probed() of this program, which doubles its argument: 21
//   act library N       calls getppid() of the C library
//   act wait probe N    the same, but not before a line arrives on standard input; prints "ready" first
//   act send N IFACE    sends frames of the type kept free for local experiments
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

__attribute__((noinline)) long probed(long value)
{
	__asm__ volatile("" : "+r"(value));
	return 2 * value;
}

static void once(const char *what)
{
	if (!strcmp(what, "mkdir"))
		mkdirat(AT_FDCWD, "/", 0700);
	else if (!strcmp(what, "truncate")) {
		if (!truncate("/", 7))
			exit(1);
	} else if (!strcmp(what, "open"))
		close(open("/dev/null", O_RDONLY));
	else if (!strcmp(what, "probe"))
		probed(21);
	else if (!strcmp(what, "library"))
		getppid();
	else
		exit(2);
}

static int send_frames(int count, const char *interface)
{
	unsigned char frame[64] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, 9, 0x88, 0xb5};
	struct sockaddr_ll to = {
		.sll_family = AF_PACKET,
		.sll_protocol = htons(0x88b5),
		.sll_ifindex = if_nametoindex(interface),
		.sll_halen = 6,
	};
	int packets = socket(AF_PACKET, SOCK_RAW, 0);

	for (int i = 0; i < count; i++)
		if (sendto(packets, frame, sizeof(frame), 0, (void *)&to, sizeof(to)) < 0) {
			perror(interface);
			return 1;
		}
	return 0;
}

int main(int count, char **words)
{
	if (count == 3 && !strcmp(words[1], "new")) {
		puts(mkdir(words[2], 0700) ? strerror(errno) : "made");
		return 0;
	}
	if (count == 4 && !strcmp(words[1], "send"))
		return send_frames(atoi(words[2]), words[3]);
	if (count == 4 && !strcmp(words[1], "wait")) {
		puts("ready");
		fflush(stdout);
		getchar();
		words++;
		count--;
	}
	if (count != 3)
		return 2;
	for (int i = atoi(words[2]); i > 0; i--)
		once(words[1]);
	return 0;
}
