// SPDX-License-Identifier: GPL-2.0-or-later OR BSD-2-Clause
//
// DNS messages in a socket buffer, as far as programs read them: the header, and the name of the first question.
// Needs bpf_loop (Linux 5.17).
#ifndef DNS_H
#define DNS_H

#include <linux/bpf.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

struct dns_header {
	__be16 id;
	__be16 flags;
	__be16 questions;
	__be16 answers;
	__be16 authorities;
	__be16 additional;
};

// Bits of `flags`.
#define DNS_RESPONSE 0x8000
#define DNS_OPCODE 0x7800
#define DNS_RCODE 0x000f

#define DNS_PORT 53
#define DNS_IN 1
#define DNS_A 1
#define DNS_CNAME 5
#define DNS_AAAA 28

// Maximum length of a name, as text with dots. Names may have 253 characters, but all variables only 512 bytes.
#define DNS_NAME_MAX 183

// A name as a key of a trie: reversed, so that names under a domain have a common prefix; in lower case, ended by a zero.
struct dns_name {
	__u32 length; // of the prefix, in bits
	__u32 generation;
	char reversed[DNS_NAME_MAX + 1];
};

// State of the two loops over a name.
struct dns_name_reader {
	struct __sk_buff *skb;
	__u32 start; // of the first label's length
	__u32 at;
	__u32 characters;
	__u32 left; // of this label
	__u32 good;
	__u64 hash;
	struct dns_name name;
};

#define DNS_LABELS 127
#define DNS_LABEL_MAX 63

static long dns_measure_label(__u32 index, void *data)
{
	struct dns_name_reader *reader = data;
	__u8 length = 0;

	// A question is the first name of a message, so it has no compression pointer: fail on one.
	if (bpf_skb_load_bytes(reader->skb, reader->at, &length, 1) || length > DNS_LABEL_MAX)
		return 1;
	if (!length) {
		reader->good = reader->at > reader->start;
		reader->characters = reader->at - reader->start - 1;
		return 1;
	}
	reader->at += length + 1;
	return reader->at - reader->start > DNS_NAME_MAX;
}

static long dns_copy_byte(__u32 index, void *data)
{
	struct dns_name_reader *reader = data;
	__u32 place = reader->characters - index;
	__u8 byte = 0;

	if (bpf_skb_load_bytes(reader->skb, reader->start + index, &byte, 1)) {
		reader->good = 0;
		return 1;
	}
	if (!reader->left) {
		reader->left = byte;
		byte = '.';
	} else {
		reader->left--;
		if (byte >= 'A' && byte <= 'Z')
			byte |= 0x20;
		// This includes a dot within a label, which would look like two labels.
		if (!(byte >= 'a' && byte <= 'z') && !(byte >= '0' && byte <= '9') && byte != '-' && byte != '_') {
			reader->good = 0;
			return 1;
		}
	}
	reader->hash = (reader->hash ^ byte) * 0x100000001b3ULL;
	// The dot before the first label is left out.
	if (index && place < DNS_NAME_MAX)
		reader->name.reversed[place] = byte;
	return 0;
}

// Reads the name that begins at `at`. Returns true if it has only letters, digits, `-` and `_`, and at most
// DNS_NAME_MAX characters; the reader's `at` is then the offset of its last byte, the zero.
static __always_inline bool dns_read_name(struct dns_name_reader *reader, struct __sk_buff *skb, __u32 at)
{
	__builtin_memset(reader, 0, sizeof(*reader));
	reader->skb = skb;
	reader->start = reader->at = at;
	reader->hash = 0xcbf29ce484222325ULL;
	bpf_loop(DNS_LABELS, dns_measure_label, reader, 0);
	if (!reader->good)
		return false;
	bpf_loop(reader->characters + 1, dns_copy_byte, reader, 0);
	return reader->good;
}

#endif
