/* A worker of a version that no daemon has. */
#include <string.h>
#include <sys/socket.h>

int main(void)
{
	const char *version = "bpfman-worker 0.0.1";

	return send(0, version, strlen(version), 0) < 0;
}
