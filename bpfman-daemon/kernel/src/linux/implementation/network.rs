//! Interfaces of network namespaces, and watches of them.

use std::path::{Path, PathBuf};

use bpfmand_core::{AddressedInterface, InterfaceFacts};

use crate::linux::{LinuxKernel, addresses, interfaces, network_watch, watch};
use crate::{InterfaceWatch, KernelError, KernelNetwork, NetworkWatch};

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

    fn addressed_interfaces(&self, netns: Option<&Path>) -> Result<Vec<AddressedInterface>, KernelError> {
        addresses::list(netns)
    }

    fn watch_network(&self) -> Box<dyn NetworkWatch> {
        Box::<network_watch::NetlinkWatch>::default()
    }
}
