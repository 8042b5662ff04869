// Included by every source of the corpus.
//
// The first lines of a source say what it is for, and from which Linux on its programs have to load:
//
//   // feature: what is tried
//   // since: 5.10
//   // module: NAME          a module that has to be there
//   // built-in: NAME        a structure of the kernel that it may be built without
//   // together: yes         if programs load only beside each other
//   // unsupported: WHY      if the daemon has no such programs yet
//   // clang: 19             if the oldest supported compiler cannot compile it
//   // flags: -mcpu=v3       further flags of the compiler
#pragma once

#include <linux/bpf.h>
#include <stdbool.h>
#include <stddef.h>

#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_tracing.h>

// From libbpf's newer headers.
#ifndef __arg_ctx
#define __arg_ctx __attribute__((btf_decl_tag("arg:ctx")))
#endif
#ifndef __arg_nonnull
#define __arg_nonnull __attribute__((btf_decl_tag("arg:nonnull")))
#endif
#ifndef __kptr
#define __kptr __attribute__((btf_type_tag("kptr")))
#endif
#ifndef __kptr_untrusted
#define __kptr_untrusted __attribute__((btf_type_tag("kptr_untrusted")))
#endif
#ifndef bpf_ksym_exists
#define bpf_ksym_exists(sym) (!!sym)
#endif
#define __core __attribute__((preserve_access_index))

char _license[] SEC("license") = "GPL";
