//! Classes of the objects of calls: the columns of the table of rights.

/// Class of objects. Each call has a rule for each class.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ObjectClass {
    Program,
    /// Attachments, including those to matching interfaces.
    Link,
    /// Maps and their entries.
    Map,
    /// Hooks that several programs share: their members, switches and freezes.
    Hook,
    /// Images and files with bytecode.
    Bytecode,
    /// Types, hooks, targets, namespaces and positions, which patterns of a grant cover.
    Place,
    /// Applications that the call acts for.
    Application,
}

impl ObjectClass {
    /// All classes, in the order of the table.
    pub const ALL: [Self; 7] =
        [Self::Program, Self::Link, Self::Map, Self::Hook, Self::Bytecode, Self::Place, Self::Application];
}
