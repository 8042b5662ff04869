//! The command line client of bpfmand
