//! Types as text, to compare those of two objects: type ids are valid within one object only.

use super::{Btf, Kind};

/// Types of map values are small.
const DEPTH: usize = 8;
const MAX_TEXT: usize = 16 << 10;

impl Btf {
    /// Returns a type as text: names and offsets of members, kinds and sizes of numbers; no names of types.
    pub(crate) fn shape(&self, id: u32) -> String {
        let mut text = String::new();
        self.write_shape(id, DEPTH, &mut text);
        text
    }

    fn write_shape(&self, id: u32, depth: usize, text: &mut String) {
        let Some(ty) = self.resolve(id) else { return text.push_str("void") };
        if depth == 0 || text.len() > MAX_TEXT {
            return text.push('…');
        }
        match ty.kind {
            Kind::Struct | Kind::Union => {
                text.push_str(if ty.kind == Kind::Struct { "struct {" } else { "union {" });
                for member in ty.members() {
                    if text.len() > MAX_TEXT {
                        return text.push('…');
                    }
                    text.push_str(&format!(" {}: ", self.string(member.name_off)));
                    self.write_shape(member.type_id, depth - 1, text);
                    text.push_str(&format!(" at {}", member.bit_offset / 8));
                    if member.bit_size > 0 || member.bit_offset % 8 > 0 {
                        text.push_str(&format!(".{} of {} bits", member.bit_offset % 8, member.bit_size));
                    }
                    text.push(';');
                }
                text.push_str(" }");
            }
            Kind::Array => {
                text.push_str(&format!("{} × ", ty.array().len));
                self.write_shape(ty.array().element, depth - 1, text);
            }
            Kind::Int => text.push_str(self.name(&ty)),
            Kind::Float => text.push_str(&format!("float of {} bytes", ty.size_or_type)),
            Kind::Enum | Kind::Enum64 => text.push_str(&format!("enum of {} bytes", ty.size_or_type)),
            Kind::Ptr => text.push_str("pointer"),
            _ => text.push_str(self.name(&ty)),
        }
    }
}
