//! Macro for JSON forms: a field and its source on the wire are in one line.

/// Defines a public struct of fields `name: Type = value`, and `new`, which takes the values' wire messages.
macro_rules! json_shape {
    (
        $(#[$about:meta])*
        pub struct $name:ident($($wire:ident: $message:ty),+) {
            $($(#[$field_about:meta])* $field:ident: $type:ty = $value:expr,)*
        }
    ) => {
        $(#[$about])*
        #[derive(Clone, Debug, serde::Serialize)]
        pub struct $name {
            $($(#[$field_about])* pub $field: $type,)*
        }

        impl $name {
            #[must_use]
            pub fn new($($wire: $message),+) -> Self {
                Self { $($field: $value,)* }
            }
        }
    };
}

pub(crate) use json_shape;
