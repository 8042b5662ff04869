pub(crate) mod asm;
pub(crate) mod btf_records;
pub(crate) mod flow;
pub(crate) mod licence;
pub(crate) mod opcode;
pub(crate) mod scan;
#[cfg(test)]
pub(crate) mod testing;
