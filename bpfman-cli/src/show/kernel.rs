//! "Kernel State" block.

use super::block::Block;
use super::json::KernelJson;
use super::screen::Screen;

/// Returns the kernel's information about a program as a block.
#[must_use]
pub fn block(kernel: &KernelJson, screen: Screen) -> String {
    let mut block = Block::new("Kernel State");
    let name = (!kernel.name.is_empty()).then_some(&kernel.name);
    block
        .line("Program ID", kernel.id)
        .optional("BPF Function", name)
        .line("Kernel Type", &kernel.kernel_type)
        .line("Loaded At", &kernel.loaded_at)
        .line("Tag", &kernel.tag)
        .line("GPL Compatible", kernel.gpl_compatible)
        .line("Map IDs", format!("{:?}", kernel.map_ids))
        .line("BTF ID", kernel.btf_id)
        .line("Size Translated (bytes)", kernel.translated_bytes)
        .line("JITted", kernel.jited)
        .line("Size JITted", kernel.jited_bytes)
        .line("Kernel Allocated Memory (bytes)", kernel.memory_bytes)
        .line("Verified Instruction Count", kernel.verified_instructions);
    block.render(screen)
}
