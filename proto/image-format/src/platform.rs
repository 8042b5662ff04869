use std::fmt;
use std::str::FromStr;

/// Byte order of an object file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Endian {
    /// Least significant byte first: `bpfel`.
    Little,
    /// Most significant byte first: `bpfeb`.
    Big,
}

impl Endian {
    /// Returns the byte order of this machine.
    #[must_use]
    pub const fn host() -> Self {
        if cfg!(target_endian = "big") { Self::Big } else { Self::Little }
    }
}

impl fmt::Display for Endian {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Little => "little endian",
            Self::Big => "big endian",
        })
    }
}

/// Platform `linux/<architecture>`, with Go's name of the architecture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Platform(usize);

/// Reason why a text does not name a platform.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlatformError {
    #[error("`{0}` is not a platform that bytecode images have; they have {all}", all = Platform::all_names())]
    Unknown(String),
    /// The name of the file does not contain its platform.
    #[error(
        "the file name `{0}` does not say its platform; expected names like prog_x86_bpfel.o, as bpf2go writes them"
    )]
    FileName(String),
}

struct Row {
    architecture: &'static str,
    build_arg: &'static str,
    endian: Endian,
    words: &'static [&'static str],
}

const fn row(
    architecture: &'static str,
    build_arg: &'static str,
    endian: Endian,
    words: &'static [&'static str],
) -> Row {
    Row { architecture, build_arg, endian, words }
}

/// Sorted by name, since `Platform` orders by position. bpf2go's `x86` is 386 and amd64; here it is amd64.
const TABLE: [Row; 13] = [
    row("386", "BC_386_EL", Endian::Little, &["386"]),
    row("amd64", "BC_AMD64_EL", Endian::Little, &["x86", "amd64"]),
    row("arm", "BC_ARM_EL", Endian::Little, &["arm"]),
    row("arm64", "BC_ARM64_EL", Endian::Little, &["arm64"]),
    row("loong64", "BC_LOONG64_EL", Endian::Little, &["loongarch", "loong64"]),
    row("mips", "BC_MIPS_EB", Endian::Big, &["mips"]),
    row("mips64", "BC_MIPS64_EB", Endian::Big, &["mips64"]),
    row("mips64le", "BC_MIPS64LE_EL", Endian::Little, &["mips64le"]),
    row("mipsle", "BC_MIPSLE_EL", Endian::Little, &["mipsle"]),
    row("ppc64", "BC_PPC64_EB", Endian::Big, &["powerpc", "ppc64"]),
    row("ppc64le", "BC_PPC64LE_EL", Endian::Little, &["powerpc", "ppc64le"]),
    row("riscv64", "BC_RISCV64_EL", Endian::Little, &["riscv", "riscv64"]),
    row("s390x", "BC_S390X_EB", Endian::Big, &["s390", "s390x"]),
];

impl Platform {
    /// Returns all platforms, sorted by name.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..TABLE.len()).map(Self)
    }

    fn all_names() -> String {
        Self::all().map(|platform| platform.to_string()).collect::<Vec<_>>().join(", ")
    }

    fn row(self) -> &'static Row {
        &TABLE[self.0]
    }

    /// Returns Go's name of the architecture, as in an image's field `architecture`.
    #[must_use]
    pub fn architecture(self) -> &'static str {
        self.row().architecture
    }

    /// Returns the operating system of an image: always `linux`.
    #[must_use]
    pub const fn os(self) -> &'static str {
        "linux"
    }

    /// Returns the name of a Containerfile's build argument for this platform's object.
    #[must_use]
    pub fn build_arg(self) -> &'static str {
        self.row().build_arg
    }

    /// Returns the byte order that objects must have.
    #[must_use]
    pub fn endian(self) -> Endian {
        self.row().endian
    }

    /// Returns the platform of an architecture, by Go's name.
    #[must_use]
    pub fn from_architecture(name: &str) -> Option<Self> {
        Self::all().find(|platform| platform.architecture() == name)
    }

    /// Returns the platform of this machine; none if images cannot be built for it.
    #[must_use]
    pub fn host() -> Option<Self> {
        let little = Endian::host() == Endian::Little;
        Self::from_architecture(match std::env::consts::ARCH {
            "x86" => "386",
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            "loongarch64" => "loong64",
            "mips" if little => "mipsle",
            "mips64" if little => "mips64le",
            "powerpc64" if little => "ppc64le",
            "powerpc64" => "ppc64",
            other => other,
        })
    }

    /// Returns the platform in a file name as bpf2go writes it, with words for architecture and byte order.
    pub fn from_file_name(name: &str) -> Result<Self, PlatformError> {
        let base = name.rsplit('/').next().unwrap_or(name);
        let words: Vec<&str> = base.split(['_', '-', '.']).collect();
        let endian = match (words.contains(&"bpfel"), words.contains(&"bpfeb")) {
            (true, false) => Endian::Little,
            (false, true) => Endian::Big,
            _ => return Err(PlatformError::FileName(name.to_owned())),
        };
        let mut found = Self::all().filter(|platform| {
            platform.endian() == endian && platform.row().words.iter().any(|word| words.contains(word))
        });
        match (found.next(), found.next()) {
            (Some(platform), None) => Ok(platform),
            _ => Err(PlatformError::FileName(name.to_owned())),
        }
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os(), self.architecture())
    }
}

impl FromStr for Platform {
    type Err = PlatformError;

    fn from_str(text: &str) -> Result<Self, PlatformError> {
        text.strip_prefix("linux/")
            .and_then(Self::from_architecture)
            .ok_or_else(|| PlatformError::Unknown(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn platform_reads_back_its_own_name() {
        for platform in Platform::all() {
            assert_eq!(platform.to_string().parse(), Ok(platform));
        }
        assert!("linux/sparc".parse::<Platform>().is_err());
        assert!("windows/amd64".parse::<Platform>().is_err());
        assert!("amd64".parse::<Platform>().is_err());
    }

    #[test]
    fn platform_build_args_end_in_the_byte_order() {
        for platform in Platform::all() {
            let end = if platform.endian() == Endian::Big { "_EB" } else { "_EL" };
            assert!(platform.build_arg().ends_with(end), "{platform}");
            assert!(platform.build_arg().starts_with("BC_"), "{platform}");
        }
    }

    #[test]
    fn platform_is_recognised_by_names_of_bpf2go() {
        for (file, platform) in [
            ("bpf_x86_bpfel.o", "linux/amd64"),
            ("out/bpf_386_bpfel.o", "linux/386"),
            ("bpf_arm_bpfel.o", "linux/arm"),
            ("bpf_arm64_bpfel.o", "linux/arm64"),
            ("bpf_loongarch_bpfel.o", "linux/loong64"),
            ("bpf_mips_bpfeb.o", "linux/mips"),
            ("bpf_mips64le_bpfel.o", "linux/mips64le"),
            ("bpf_powerpc_bpfeb.o", "linux/ppc64"),
            ("bpf_powerpc_bpfel.o", "linux/ppc64le"),
            ("bpf_riscv_bpfel.o", "linux/riscv64"),
            ("bpf_s390_bpfeb.o", "linux/s390x"),
        ] {
            assert_eq!(Platform::from_file_name(file).map(|p| p.to_string()), Ok(platform.to_owned()));
        }
        for file in
            ["prog.o", "bpf_bpfel.o", "bpf_x86_bpfeb.o", "bpf_x86_bpfel_bpfeb.o", "bpf_x86_arm64_bpfel.o"]
        {
            assert!(Platform::from_file_name(file).is_err(), "{file}");
        }
    }
}
