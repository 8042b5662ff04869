// SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause
//
// Sends packets from a cgroup and a network namespace, and prints the CPU time that they took.
//
//     group_sender GROUP NAMESPACE      the folder of a cgroup, and the file of a namespace
//
// For each line on standard input it answers with a line: nanoseconds of this thread's CPU time for each packet.
//
//     udp ADDRESS PORT COUNT            datagrams of one byte, by a socket without a connection
//     tcp COUNT                         segments of one byte over the loopback interface to itself, one at a time
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <err.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static void enter(const char *group, const char *namespace)
{
	char path[4096];
	FILE *processes;
	int file;

	snprintf(path, sizeof(path), "%s/cgroup.procs", group);
	processes = fopen(path, "w");
	if (!processes || fprintf(processes, "%d\n", getpid()) < 0 || fclose(processes))
		err(1, "%s", path);
	file = open(namespace, O_RDONLY);
	if (file < 0 || setns(file, CLONE_NEWNET))
		err(1, "%s", namespace);
	close(file);
}

static double cpu_time(void)
{
	struct timespec own;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &own);
	return own.tv_sec * 1e9 + own.tv_nsec;
}

static double udp(const char *address, int port, int count)
{
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(port) };
	int sender = socket(AF_INET, SOCK_DGRAM, 0);
	double start;

	if (sender < 0 || inet_pton(AF_INET, address, &to.sin_addr) != 1)
		err(1, "%s", address);
	start = cpu_time();
	for (int i = 0; i < count; i++)
		if (sendto(sender, "x", 1, 0, (struct sockaddr *)&to, sizeof(to)) != 1)
			err(1, "cannot send to %s", address);
	start = cpu_time() - start;
	close(sender);
	return start / count;
}

static double tcp(int count)
{
	struct sockaddr_in at = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int listener = socket(AF_INET, SOCK_STREAM, 0), sender = socket(AF_INET, SOCK_STREAM, 0), receiver, yes = 1;
	socklen_t length = sizeof(at);
	char byte = 'x';
	double start;

	if (bind(listener, (struct sockaddr *)&at, sizeof(at)) || listen(listener, 1) ||
	    getsockname(listener, (struct sockaddr *)&at, &length) ||
	    connect(sender, (struct sockaddr *)&at, sizeof(at)) || (receiver = accept(listener, NULL, NULL)) < 0 ||
	    setsockopt(sender, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof(yes)))
		err(1, "no connection");
	start = cpu_time();
	for (int i = 0; i < count; i++)
		if (send(sender, &byte, 1, 0) != 1 || recv(receiver, &byte, 1, 0) != 1)
			err(1, "the connection ended");
	start = cpu_time() - start;
	close(sender);
	close(receiver);
	close(listener);
	return start / count;
}

int main(int count, char **words)
{
	char line[256], address[64];
	int port, number;

	if (count != 3)
		errx(2, "usage: group_sender GROUP NAMESPACE");
	enter(words[1], words[2]);
	setvbuf(stdout, NULL, _IOLBF, 0);
	while (fgets(line, sizeof(line), stdin)) {
		if (sscanf(line, "udp %63s %d %d", address, &port, &number) == 3)
			printf("%.2f\n", udp(address, port, number));
		else if (sscanf(line, "tcp %d", &number) == 1)
			printf("%.2f\n", tcp(number));
		else
			errx(2, "no order: %s", line);
	}
	return 0;
}
