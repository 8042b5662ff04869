// SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause
// Runs in a pod that receives datagrams: listens on port 4242 before anything else, and prints the number of received
// datagrams every tenth of a second, a line each.
#include <netinet/in.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

int main(void)
{
    struct sockaddr_in any = { .sin_family = AF_INET, .sin_port = htons(4242) };
    struct timeval said = {}, now;
    unsigned long received = 0;
    char datagram[64];
    int listener = socket(AF_INET, SOCK_DGRAM, 0);

    if (listener < 0 || bind(listener, (struct sockaddr *)&any, sizeof(any)) < 0) {
        perror("cannot listen");
        return 1;
    }
    struct timeval patience = { .tv_usec = 100000 };
    setsockopt(listener, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    setvbuf(stdout, NULL, _IOLBF, 0);
    for (;;) {
        if (recv(listener, datagram, sizeof(datagram), 0) >= 0)
            received++;
        gettimeofday(&now, NULL);
        if ((now.tv_sec - said.tv_sec) * 1000000L + now.tv_usec - said.tv_usec >= 100000) {
            printf("received %lu\n", received);
            said = now;
        }
    }
}
