// Uses CPU time in a function of its own and in the kernel, so that profiles show both.
#include <fcntl.h>
#include <unistd.h>

static volatile unsigned long sink;
static char bytes[1 << 20];

__attribute__((noinline)) static void spin_in_user_space(void)
{
	for (unsigned long i = 0; i < 2000000; i++)
		sink += i * i;
}

__attribute__((noinline)) static void work_all_day(int zeroes)
{
	for (;;) {
		spin_in_user_space();
		for (int i = 0; i < 20; i++)
			if (read(zeroes, bytes, sizeof(bytes)) < 0)
				_exit(1);
	}
}

int main(void)
{
	int zeroes = open("/dev/zero", O_RDONLY);

	if (zeroes < 0)
		return 1;
	work_all_day(zeroes);
}
