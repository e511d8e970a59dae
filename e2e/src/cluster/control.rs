//! The control plane: etcd, API server, controller manager and scheduler, as processes in the cluster's network.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Child, Command};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

use super::audit;
use super::pki::{Authority, kubeconfig};
use crate::command::{self, until};
use crate::place::Place;
use crate::rig;

/// Where the control plane and the registry are, on the bridge that the nodes hang on.
pub const ADDRESS: &str = "10.90.0.1";
pub const SERVICES: &str = "10.96.0.0/16";
const API_IN_CLUSTER: &str = "10.96.0.1";
const LIMIT: Duration = Duration::from_secs(60);

/// The file with all programs of Kubernetes.
pub fn program() -> Result<PathBuf> {
    rig::need(&rig::root().join("bin/kube"), "e2e/rig/fetch.sh cluster")
}

pub fn server() -> String {
    format!("https://{ADDRESS}:6443")
}

#[derive(Debug)]
pub struct Control {
    /// In the order of their start.
    running: Vec<(&'static str, Child)>,
    logs: PathBuf,
}

impl Control {
    /// Starts everything; the API server answers then.
    pub fn start(place: &Place, authority: &Authority) -> Result<Control> {
        Control::start_with(place, authority, &[])
    }

    /// With more words for the controller manager.
    pub fn start_with(place: &Place, authority: &Authority, words: &[&str]) -> Result<Control> {
        let logs = place.path("control");
        fs::create_dir_all(&logs)?;
        let mut control = Control { running: Vec::new(), logs };
        control.etcd(place)?;
        control.apiserver(place, authority)?;
        control.others(place, authority, words)?;
        Ok(control)
    }

    fn spawn(&mut self, name: &'static str, mut command: Command) -> Result<()> {
        let log = File::create(self.logs.join(name))?;
        let child = command.stdout(log.try_clone()?).stderr(log).spawn().context(name)?;
        self.running.push((name, child));
        Ok(())
    }

    fn etcd(&mut self, place: &Place) -> Result<()> {
        let mut etcd = place.daemon(program()?)?;
        etcd.arg("etcd").arg("--data-dir").arg(place.path("etcd"));
        etcd.args(["--listen-client-urls", "http://127.0.0.1:2379"]);
        etcd.args(["--advertise-client-urls", "http://127.0.0.1:2379"]);
        // Nobody wants these data after a crash of the machine.
        etcd.args(["--listen-peer-urls", "http://127.0.0.1:2380", "--unsafe-no-fsync"]);
        self.spawn("etcd", etcd)
    }

    fn apiserver(&mut self, place: &Place, authority: &Authority) -> Result<()> {
        let names = [ADDRESS, API_IN_CLUSTER, "kubernetes", "kubernetes.default.svc"];
        let own = authority.issue("apiserver", "apiserver", "", &names)?;
        let admin = authority.issue("admin", "admin", "system:masters", &[])?;
        let (tokens, ca) = (authority.tokens()?, authority.certificate());
        let config = kubeconfig(&server(), &ca, &admin);
        fs::write(place.path("admin.conf"), config.to_string())?;
        let file = |flag: &str, path: &PathBuf| format!("--{flag}={}", path.display());
        let mut command = place.daemon(program()?)?;
        command.arg("apiserver").args([
            "--etcd-servers=http://127.0.0.1:2379",
            &format!("--bind-address={ADDRESS}"),
            &format!("--advertise-address={ADDRESS}"),
            &format!("--service-cluster-ip-range={SERVICES}"),
            "--authorization-mode=Node,RBAC",
            "--allow-privileged",
            "--service-account-issuer=https://kubernetes.default.svc",
            // The nodes' names are known to nobody but themselves.
            "--kubelet-preferred-address-types=InternalIP",
            &file("client-ca-file", &ca),
            &file("tls-cert-file", &own.certificate),
            &file("tls-private-key-file", &own.key),
            &file("service-account-key-file", &tokens.certificate),
            &file("service-account-signing-key-file", &tokens.key),
            &file("kubelet-client-certificate", &admin.certificate),
            &file("kubelet-client-key", &admin.key),
            &file("kubelet-certificate-authority", &ca),
            // As on OpenShift: who makes an object of another needs a right to hold up that one's end.
            "--enable-admission-plugins=OwnerReferencesPermissionEnforcement",
        ]);
        command.args(audit::words(place)?);
        self.spawn("apiserver", command)?;
        let ready = || {
            let mut asked = kubectl(place, &["get", "--raw", "/readyz"])?;
            command::run(&mut asked, b"", LIMIT)?.ok()
        };
        if !until(LIMIT, || ready().is_ok()) {
            bail!("the API server does not answer:\n{}", self.log());
        }
        Ok(())
    }

    fn others(&mut self, place: &Place, authority: &Authority, words: &[&str]) -> Result<()> {
        for name in ["controller-manager", "scheduler"] {
            let pair = authority.issue(name, &format!("system:kube-{name}"), "", &[])?;
            let config = place.path(&format!("{name}.conf"));
            let content = kubeconfig(&server(), &authority.certificate(), &pair);
            fs::write(&config, content.to_string())?;
            let mut command = place.daemon(program()?)?;
            command.arg(name).arg("--leader-elect=false").arg("--bind-address=127.0.0.1");
            // Their own limits of 20 and 50 calls a second are for clusters with others to share the API server with.
            command.args(["--kube-api-qps=1000", "--kube-api-burst=1000"]);
            for use_of in ["kubeconfig", "authentication-kubeconfig", "authorization-kubeconfig"] {
                command.arg(format!("--{use_of}={}", config.display()));
            }
            if name == "controller-manager" {
                let folder = place.path("pki");
                command.arg("--use-service-account-credentials").args(words);
                command.arg(format!("--root-ca-file={}", authority.certificate().display()));
                let key = folder.join("tokens.key");
                command.arg(format!("--service-account-private-key-file={}", key.display()));
            }
            self.spawn(name, command)?;
        }
        Ok(())
    }

    /// What its programs have said.
    pub fn log(&self) -> String {
        let told = |name: &str| fs::read_to_string(self.logs.join(name)).unwrap_or_default();
        self.running.iter().map(|(name, _)| format!("-- {name}\n{}", told(name))).collect()
    }

    /// Ends it, the last program first: the API server says goodbye to etcd.
    pub fn stop(&mut self) -> Result<()> {
        while let Some((name, mut child)) = self.running.pop() {
            kill_process(Pid::from_child(&child), Signal::TERM).context(name)?;
            // What is in flight at the API server is nobody's any more, so it need not be waited for.
            if !until(Duration::from_secs(2), || matches!(child.try_wait(), Ok(Some(_)))) {
                child.kill().context(name)?;
                child.wait().context(name)?;
            }
        }
        Ok(())
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        if let Err(error) = self.stop() {
            eprintln!("{error:#}");
        }
    }
}

/// The client, as the administrator.
pub fn kubectl(place: &Place, words: &[&str]) -> Result<Command> {
    let mut command = place.command(program()?);
    command.arg("kubectl").args(words);
    command.env("KUBECONFIG", place.path("admin.conf"));
    // What it learns of the API is this cluster's, and is not kept in the home of whoever runs this.
    command.env("KUBECACHEDIR", place.path("kubectl"));
    Ok(command)
}
