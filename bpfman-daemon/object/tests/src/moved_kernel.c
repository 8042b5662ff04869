// SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause
// The structures of moved_program.c as a later kernel has them. Only its type information is used.

enum level {
	NONE,
	HIGH = 70,
};

struct sample {
	long new_first;                    // 0
	unsigned long widened;             // 8
	long widened_signed;               // 16
	unsigned int lifted;               // 24
	union {
		struct {
			unsigned int before;   // 28
			unsigned int sunk;     // 32
		};
		long other[2];
	};
	int list[2];
	const char *pointer;
	void *became_pointer;
	unsigned int before_bits : 9;
	unsigned int bits : 3;
} sample;

struct twice {
	int same;
	int moved;
} twice;

struct twice___other {
	int same;
	int between;
	int moved;
} twice_other;

enum level level;
