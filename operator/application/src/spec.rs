//! Specs of both scopes as one type.

use serde_json::Value;
use thiserror::Error;

use crate::application::{ApplicationCommon, BpfApplicationSpec, ClusterBpfApplicationSpec};
use crate::check::SpecProblem;
use crate::global_data;
use crate::points::PointBlocks;
use crate::program::{ClusterProgram, NamespacedProgram};

/// Spec of an application of either scope; a namespaced one selects pods of its namespace only.
#[derive(Clone, Debug, PartialEq)]
pub struct ApplicationSpec {
    /// Namespace of a namespaced application. Every pod selector names it.
    pub namespace: Option<String>,
    /// Fields that both scopes share.
    pub common: ApplicationCommon,
    /// Programs of the application.
    pub programs: Vec<ClusterProgram>,
}

/// Error of a spec that cannot be read.
#[derive(Debug, Error)]
pub enum SpecError {
    /// A field has the wrong type.
    #[error("spec: {0}")]
    Field(#[from] serde_json::Error),
    /// Values of global variables are invalid. The types would read them as empty values.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    GlobalData(Vec<SpecProblem>),
}

impl ApplicationSpec {
    /// Reads a spec. `namespace` is that of a namespaced application; a [`SpecError`] names the field.
    pub fn read(namespace: Option<&str>, spec: Value) -> Result<Self, SpecError> {
        let wrong = global_data::problems(&spec);
        let read = match namespace {
            None => serde_json::from_value::<ClusterBpfApplicationSpec>(spec)?.into(),
            Some(namespace) => Self::namespaced(namespace, serde_json::from_value(spec)?),
        };
        if wrong.is_empty() { Ok(read) } else { Err(SpecError::GlobalData(wrong)) }
    }

    /// Converts the spec of a namespaced application.
    #[must_use]
    pub fn namespaced(namespace: &str, spec: BpfApplicationSpec) -> Self {
        let within = |program: NamespacedProgram| ClusterProgram {
            name: program.name,
            program_type: program.program_type.into(),
            target: None,
            xdp: program.xdp.map(|block| block.within(namespace)),
            tc: program.tc.map(|block| block.within(namespace)),
            tcx: program.tcx.map(|block| block.within(namespace)),
            fentry: None,
            fexit: None,
            kprobe: None,
            kretprobe: None,
            uprobe: program.uprobe.map(|block| block.within(namespace)),
            uretprobe: program.uretprobe.map(|block| block.within(namespace)),
            tracepoint: None,
            points: PointBlocks::default(),
        };
        Self {
            namespace: Some(namespace.to_owned()),
            common: spec.common,
            programs: spec.programs.into_iter().map(within).collect(),
        }
    }
}

impl From<ClusterBpfApplicationSpec> for ApplicationSpec {
    fn from(spec: ClusterBpfApplicationSpec) -> Self {
        Self { namespace: None, common: spec.common, programs: spec.programs }
    }
}
