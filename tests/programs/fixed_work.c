// SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause
//
// Does a given amount of work, thirty calls deep and partly in the kernel, and prints the time that it took.
//
// For each line on standard input, a number of rounds, it answers with a line: nanoseconds of its CPU time, and the
// tenth percentile of the wall-clock time, in nanoseconds, of stretches of some rounds. Other processes seldom interrupt
// so short a stretch. Its time includes interrupts, and a hypervisor's part in them, which no process's CPU time has.
#include <err.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define DEPTH 30
#define STRETCH 45
#define STRETCHES 4096

static volatile unsigned long sink;
static char bytes[4096];
static int zeroes;

__attribute__((noinline)) static void work(int depth)
{
	if (depth) {
		work(depth - 1);
		sink++; // keeps the call from becoming a jump
		return;
	}
	for (unsigned long i = 0; i < 20000; i++)
		sink += i * i;
	for (int i = 0; i < 20; i++)
		if (read(zeroes, bytes, sizeof(bytes)) < 0)
			err(1, "/dev/zero");
}

static double stretches[STRETCHES];

static double now(int clock)
{
	struct timespec time;

	clock_gettime(clock, &time);
	return time.tv_sec * 1e9 + time.tv_nsec;
}

static int compare(const void *one, const void *other)
{
	double difference = *(const double *)one - *(const double *)other;

	return (difference > 0) - (difference < 0);
}

int main(void)
{
	int rounds;

	zeroes = open("/dev/zero", O_RDONLY);
	if (zeroes < 0)
		err(1, "/dev/zero");
	setvbuf(stdout, NULL, _IOLBF, 0);
	while (scanf("%d", &rounds) == 1) {
		double start = now(CLOCK_THREAD_CPUTIME_ID);
		int count = rounds / STRETCH;

		if (count < 1 || count > STRETCHES)
			errx(2, "not so many rounds: %d", rounds);
		for (int i = 0; i < count; i++) {
			double begun = now(CLOCK_MONOTONIC);

			for (int j = 0; j < STRETCH; j++)
				work(DEPTH);
			stretches[i] = now(CLOCK_MONOTONIC) - begun;
		}
		start = now(CLOCK_THREAD_CPUTIME_ID) - start;
		qsort(stretches, count, sizeof(*stretches), compare);
		printf("%.0f %.0f\n", start, stretches[count / 10]);
	}
	return 0;
}
