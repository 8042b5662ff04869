use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use bpfman_model::{AddressedInterface, InterfaceFacts, NetnsId, NetnsNumber};

use crate::linux::{LinuxKernel, addresses, interfaces, netns, network_watch, watch};
use crate::{FoundNamespace, InterfaceWatch, KernelError, KernelNetwork, NetworkWatch};

impl KernelNetwork for LinuxKernel {
    fn interfaces(&self, netns: Option<&Path>) -> Result<Vec<InterfaceFacts>, KernelError> {
        interfaces::list(netns)
    }

    fn watch_interfaces(&self, netns: Option<&Path>) -> Result<Box<dyn InterfaceWatch>, KernelError> {
        watch::open(netns)
    }

    fn named_namespaces(&self) -> Vec<PathBuf> {
        network_watch::named()
    }

    fn find_namespace(
        &self,
        netns: NetnsId,
        hint: Option<&Path>,
        number: Option<NetnsNumber>,
    ) -> Result<FoundNamespace, KernelError> {
        self.namespaces.find(netns, hint, number)
    }

    fn number_namespace(
        &self,
        netns: NetnsId,
        hint: Option<&Path>,
    ) -> Result<Option<NetnsNumber>, KernelError> {
        let table = self.namespaces.identity(netns::here()?);
        if table == netns {
            return Ok(None);
        }
        Ok(self.namespaces.number(netns, hint)?.map(|number| NetnsNumber { table, number }))
    }

    fn leads_to(&self, path: Option<&Path>, netns: NetnsId) -> bool {
        self.namespaces.leads_to(path, netns)
    }

    fn hold_namespaces(&self, recorded: &BTreeMap<NetnsId, Option<NetnsNumber>>) -> Result<(), KernelError> {
        self.namespaces.hold(recorded)
    }

    fn all_namespaces(&self) -> Vec<PathBuf> {
        self.namespaces.all()
    }

    fn addressed_interfaces(&self, netns: Option<&Path>) -> Result<Vec<AddressedInterface>, KernelError> {
        addresses::list(netns)
    }

    fn watch_network(&self) -> Box<dyn NetworkWatch> {
        Box::<network_watch::NetlinkWatch>::default()
    }
}
