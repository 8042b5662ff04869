use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use bpfman_model::{AddressedInterface, InterfaceFacts, NetnsId, NetnsNumber};

use crate::sim::{SimKernel, network_watch::Networks, watch::SimWatch};
use crate::{FoundNamespace, InterfaceWatch, KernelError, KernelNetwork, NetworkWatch};

impl KernelNetwork for SimKernel {
    fn interfaces(&self, netns: Option<&Path>) -> Result<Vec<InterfaceFacts>, KernelError> {
        Ok(self.enter("interfaces")?.network.namespace(netns)?.list())
    }

    fn watch_interfaces(&self, netns: Option<&Path>) -> Result<Box<dyn InterfaceWatch>, KernelError> {
        let state = self.enter("watch_interfaces")?;
        Ok(Box::new(SimWatch::open(&self.state, &self.changed, &state, netns)?))
    }

    fn named_namespaces(&self) -> Vec<PathBuf> {
        self.state().network.named()
    }

    fn find_namespace(
        &self,
        netns: NetnsId,
        hint: Option<&Path>,
        number: Option<NetnsNumber>,
    ) -> Result<FoundNamespace, KernelError> {
        Ok(self.enter("find_namespace")?.network.find_namespace(netns, hint, number))
    }

    fn number_namespace(&self, netns: NetnsId, _: Option<&Path>) -> Result<Option<NetnsNumber>, KernelError> {
        self.enter("number_namespace")?.network.number_namespace(netns)
    }

    fn leads_to(&self, path: Option<&Path>, netns: NetnsId) -> bool {
        self.state().network.leads_to(path, netns)
    }

    fn hold_namespaces(&self, recorded: &BTreeMap<NetnsId, Option<NetnsNumber>>) -> Result<(), KernelError> {
        self.state().hold_namespaces(recorded);
        Ok(())
    }

    fn all_namespaces(&self) -> Vec<PathBuf> {
        self.state().network.all()
    }

    fn addressed_interfaces(&self, netns: Option<&Path>) -> Result<Vec<AddressedInterface>, KernelError> {
        Ok(self.enter("addressed_interfaces")?.network.namespace(netns)?.addressed())
    }

    fn watch_network(&self) -> Box<dyn NetworkWatch> {
        Box::new(Networks::new(&self.state, &self.changed))
    }
}
