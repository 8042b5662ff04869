pub(crate) mod allowed;
mod constants;
pub(crate) mod exits;
pub(crate) mod helper_costs;
mod helper_names;
mod loop_tree;
pub(crate) mod loops;
mod sockets;
pub(crate) mod steps;
pub(crate) mod test;
#[cfg(test)]
mod test_tests;
