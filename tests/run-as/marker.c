// A process that does each action that tools observe once: it executes, opens, connects, signals, mounts, sleeps.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <fcntl.h>
#include <netdb.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

// Not inlined, because tools probe it.
__attribute__((noinline)) int work(int number) {
    __asm__ volatile("");
    return number + 1;
}

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static void *hold(void *unused) {
    pthread_mutex_lock(&lock);
    usleep(2000);
    pthread_mutex_unlock(&lock);
    return unused;
}

static void files(void) {
    struct stat found;
    char text[4096] = {0};
    int file = open("marker-file", O_CREAT | O_RDWR | O_TRUNC, 0600);
    for (int i = 0; i < 64; i++)
        if (write(file, text, sizeof text) < 0) break;
    fsync(file);
    lseek(file, 0, SEEK_SET);
    while (read(file, text, sizeof text) > 0) continue;
    close(file);
    stat("marker-file", &found);
    rename("marker-file", "marker-other");
    unlink("marker-other");
    mkdir("marker-folder", 0700);
    rmdir("marker-folder");
    mount("none", "/mnt", "tmpfs", 0, NULL);
    umount("/mnt");
}

static void network(void) {
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof at;
    char text[4096] = {0};
    int server = socket(AF_INET, SOCK_STREAM, 0), client = socket(AF_INET, SOCK_STREAM, 0);
    bind(server, (void *)&at, size);
    listen(server, 4);
    getsockname(server, (void *)&at, &size);
    connect(client, (void *)&at, size);
    int peer = accept(server, NULL, NULL);
    if (write(client, text, sizeof text) > 0 && read(peer, text, sizeof text) > 0) close(peer);
    close(client);
    close(server);
    int datagrams = socket(AF_INET, SOCK_DGRAM, 0);
    sendto(datagrams, text, 8, 0, (void *)&at, size);
    close(datagrams);
    struct addrinfo *found = NULL;
    if (!getaddrinfo("localhost", "80", NULL, &found)) freeaddrinfo(found);
}

static void processes(void) {
    pthread_t thread;
    pthread_create(&thread, NULL, hold, NULL);
    pthread_mutex_lock(&lock);
    pthread_mutex_unlock(&lock);
    pthread_join(thread, NULL);
    signal(SIGUSR1, SIG_IGN);
    kill(getpid(), SIGUSR1);
    pid_t child = fork();
    if (!child) _exit(3);
    waitpid(child, NULL, 0);
    struct timespec short_time = {.tv_nsec = 2000000};
    nanosleep(&short_time, NULL);
}

int main(int count, char **words) {
    // With a folder as argument, use a new mount namespace.
    if (count > 1 && (unshare(CLONE_NEWNS) || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) || chdir(words[1]))) return 1;
    int number = 0;
    for (int i = 0; i < 1000; i++) number = work(number);
    void *memory = malloc(1 << 20);
    memset(memory, number, 1 << 20);
    files();
    network();
    processes();
    free(memory);
    return 0;
}
