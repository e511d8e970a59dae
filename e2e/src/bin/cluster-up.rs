//! A cluster to try things on, with images of all guests, until stdin ends.

use std::io::Read;

use anyhow::Result;
use wherry_e2e::cluster::Cluster;
use wherry_e2e::guests;
use wherry_e2e::suite::Ground;

fn main() -> Result<()> {
    let cluster = Cluster::chosen()?;
    println!("{}", cluster.title());
    for (name, _) in guests::ALL {
        println!("image {}", cluster.guest(name)?);
    }
    println!("image {} and {}", cluster.toolbox()?, cluster.native()?);
    println!("kubectl: {:?} …", cluster.client(&[])?);
    for node in &cluster.nodes {
        println!("node {}: {:?} …", node.name(), node.command(&[]));
    }
    std::io::stdin().read_to_end(&mut Vec::new())?;
    cluster.finish()
}
