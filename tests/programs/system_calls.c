// SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause
//
// Makes system calls, and prints the CPU time that they took.
//
//     system_calls
//
// For each line on standard input it answers with a line: nanoseconds of CPU time for each call, or how many calls were made.
//
//     open FILE COUNT               opens and closes it
//     exec PROGRAM COUNT            starts it and waits for its end; its own CPU time is in the figure
//     getppid COUNT
//     paced FILE RATE SECONDS       opens and closes it so many times a second, as fast as it can with a rate of 0
//
// Sleeps after a few calls, so that observers can keep up; the sleep is not counted.
#define _GNU_SOURCE
#include <err.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define BATCH 50
#define REST 10000000L

static double seconds(int clock)
{
	struct timespec now;

	clock_gettime(clock, &now);
	return now.tv_sec + now.tv_nsec / 1e9;
}

// Returns nanoseconds of this process and of those that it has waited for.
static double cpu_time(void)
{
	struct rusage children;

	getrusage(RUSAGE_CHILDREN, &children);
	return seconds(CLOCK_PROCESS_CPUTIME_ID) * 1e9 +
	       (children.ru_utime.tv_sec + children.ru_stime.tv_sec) * 1e9 +
	       (children.ru_utime.tv_usec + children.ru_stime.tv_usec) * 1e3;
}

static void open_once(const char *path)
{
	int file = open(path, O_RDONLY);

	if (file < 0)
		err(1, "%s", path);
	close(file);
}

static void exec_once(const char *path)
{
	char *words[] = { (char *)path, NULL }, *environment[] = { NULL };
	int status;
	pid_t child;

	if (posix_spawn(&child, path, NULL, NULL, words, environment) || waitpid(child, &status, 0) != child || status)
		errx(1, "%s did not run", path);
}

static void getppid_once(const char *path)
{
	(void)path;
	syscall(SYS_getppid);
}

static double each(void (*call)(const char *), const char *path, int count, int batch)
{
	struct timespec rest = { .tv_nsec = REST };
	double spent = 0;

	for (int done = 0; done < count; done += batch) {
		double start = cpu_time();

		for (int i = 0; i < batch; i++)
			call(path);
		spent += cpu_time() - start;
		nanosleep(&rest, NULL);
	}
	return spent / count;
}

// Opens the file in bursts, once per millisecond.
static long paced(const char *path, int rate, int length)
{
	double start = seconds(CLOCK_MONOTONIC), now;
	struct timespec rest = { .tv_nsec = 1000000 };
	long done = 0;

	while ((now = seconds(CLOCK_MONOTONIC) - start) < length) {
		long due = rate ? now * rate : done + 1000;

		for (; done < due; done++)
			open_once(path);
		if (rate)
			nanosleep(&rest, NULL);
	}
	return done;
}

int main(void)
{
	char line[512], path[256];
	int count, length;

	setvbuf(stdout, NULL, _IOLBF, 0);
	while (fgets(line, sizeof(line), stdin)) {
		if (sscanf(line, "open %255s %d", path, &count) == 2)
			printf("%.1f\n", each(open_once, path, count, BATCH));
		else if (sscanf(line, "exec %255s %d", path, &count) == 2)
			printf("%.1f\n", each(exec_once, path, count, BATCH));
		else if (sscanf(line, "getppid %d", &count) == 1)
			printf("%.1f\n", each(getppid_once, "", count, 10000));
		else if (sscanf(line, "paced %255s %d %d", path, &count, &length) == 3)
			printf("%ld\n", paced(path, count, length));
		else
			errx(2, "no order: %s", line);
	}
	return 0;
}
