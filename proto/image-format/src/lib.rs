//! The bytecode image format: labels, media types, building, archives and key signatures
