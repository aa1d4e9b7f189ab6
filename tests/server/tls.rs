//! TLS by a client of `rustls` and certificates of `rcgen`.

use std::fs;
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use larder::server::{Listen, Server, ServerError, Tls};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use crate::lab::{Client, Folder, cache, serve, tcp, until};

/// An authority that signs for servers and clients.
struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

/// A certificate and its key, PEM.
struct Signed {
    chain: String,
    key: String,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, "the authority of a test");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        Self { issuer }
    }

    fn pem(&self) -> String {
        self.issuer.pem()
    }

    fn sign(&self, name: &str) -> Signed {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        let chain = params.signed_by(&key, &self.issuer).unwrap().pem();
        Signed { chain, key: key.serialize_pem() }
    }

    /// What a client needs that trusts this authority, and shows a certificate of its own if it has one.
    fn client(&self, shows: Option<&Signed>) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.pem().as_bytes()).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        Arc::new(match shows {
            None => builder.with_no_client_auth(),
            Some(signed) => {
                let chain = vec![CertificateDer::from_pem_slice(signed.chain.as_bytes()).unwrap()];
                let key = PrivateKeyDer::from_pem_slice(signed.key.as_bytes()).unwrap();
                builder.with_client_auth_cert(chain, key).unwrap()
            }
        })
    }
}

fn encrypted(config: &Arc<ClientConfig>, address: &str) -> StreamOwned<ClientConnection, TcpStream> {
    let connection = ClientConnection::new(config.clone(), "localhost".try_into().unwrap()).unwrap();
    StreamOwned::new(connection, tcp(address))
}

/// Whether a client gets an answer.
fn is_served(config: &Arc<ClientConfig>, address: &str) -> bool {
    use std::io::{Read, Write};
    let mut stream = encrypted(config, address);
    let mut answer = [0; 4];
    stream.write_all(b"mn\r\n").is_ok() && stream.read_exact(&mut answer).is_ok() && &answer == b"MN\r\n"
}

fn files(folder: &Folder, signed: &Signed) -> Tls {
    Tls::new(folder.write("chain.pem", &signed.chain), folder.write("key.pem", &signed.key))
}

/// The file of an authority, and a listener whose certificate it has signed.
pub(crate) fn listen(folder: &Folder) -> (String, Listen) {
    let authority = Authority::new();
    let listen = Listen::from("127.0.0.1:0").tls(files(folder, &authority.sign("localhost")));
    (folder.write("ca.pem", authority.pem()), listen)
}

#[test]
fn requests_and_large_values_go_through_encryption() {
    let (folder, authority) = (Folder::new(), Authority::new());
    let tls = files(&folder, &authority.sign("localhost"));
    let handle = serve(|builder| builder.listen(Listen::from("127.0.0.1:0").tls(tls)));
    let mut client = Client::over(encrypted(&authority.client(None), &handle.addresses()[1]));
    client.ask("set a 0 0 1\r\nx\r\nget a\r\n", "STORED\r\nVALUE a 0 1\r\nx\r\nEND\r\n");
    let value = "0123456789abcdef".repeat(30_000);
    client.ask(format!("set big 0 0 {}\r\n{value}\r\n", value.len()), "STORED\r\n");
    for _ in 0..3 {
        client.ask("get big big\r\n".repeat(4), {
            let one = format!("VALUE big 0 {}\r\n{value}\r\n", value.len());
            format!("{one}{one}END\r\n").repeat(4)
        });
    }
    // The other listener is plain, of the same cache.
    Client::connect(&handle).ask("get a\r\n", "VALUE a 0 1\r\nx\r\nEND\r\n");
    drop(handle);
    assert_eq!(client.expect_end(), b"");
}

#[test]
fn a_reader_that_is_slow_gets_all_of_it_encrypted() {
    let (folder, authority) = (Folder::new(), Authority::new());
    let tls = files(&folder, &authority.sign("localhost"));
    let handle = serve(|builder| builder.listen(Listen::from("127.0.0.1:0").tls(tls)));
    let mut client = Client::over(encrypted(&authority.client(None), &handle.addresses()[1]));
    let value = "v".repeat(900_000);
    client.ask(format!("set big 0 0 {}\r\n{value}\r\n", value.len()), "STORED\r\n");
    client.send("get big\r\n".repeat(30));
    std::thread::sleep(Duration::from_millis(300));
    client.expect(format!("VALUE big 0 {}\r\n{value}\r\nEND\r\n", value.len()).repeat(30));
}

#[test]
fn plain_bytes_at_an_encrypted_port_are_turned_away() {
    let (folder, authority) = (Folder::new(), Authority::new());
    let tls = files(&folder, &authority.sign("localhost"));
    let handle = serve(|builder| builder.listen(Listen::from("127.0.0.1:0").tls(tls)));
    let mut client = Client::at(&handle.addresses()[1]);
    client.send("get a\r\n");
    client.expect_end();
    assert!(is_served(&authority.client(None), &handle.addresses()[1]));
}

#[test]
fn client_certificates_are_asked_for() {
    let (folder, authority, other) = (Folder::new(), Authority::new(), Authority::new());
    let tls = files(&folder, &authority.sign("localhost")).client_ca(folder.write("ca.pem", authority.pem()));
    let optional = tls.clone().require_client_certificate(false);
    // Whoever has a certificate is authenticated, so this may be open to the network.
    let handle = Server::builder()
        .listen(Listen::from("0.0.0.0:0").tls(tls))
        .listen(Listen::from("127.0.0.1:0").tls(optional.clone()))
        .build(cache())
        .unwrap()
        .spawn()
        .unwrap();
    let must = handle.addresses()[0].replace("0.0.0.0", "127.0.0.1");
    let may = &handle.addresses()[1];
    let (good, bad) = (authority.sign("alice"), other.sign("mallory"));
    assert!(is_served(&authority.client(Some(&good)), &must));
    assert!(!is_served(&authority.client(None), &must));
    assert!(!is_served(&authority.client(Some(&bad)), &must));
    assert!(is_served(&authority.client(Some(&good)), may));
    assert!(is_served(&authority.client(None), may));
    assert!(!is_served(&authority.client(Some(&bad)), may));
    let open = Server::builder().listen(Listen::from("0.0.0.0:0").tls(optional)).build(cache());
    assert!(matches!(open.err(), Some(ServerError::Unauthenticated { .. })));
}

#[test]
fn certificates_are_read_again() {
    let (folder, first, second) = (Folder::new(), Authority::new(), Authority::new());
    let tls = files(&folder, &first.sign("localhost"));
    let handle = serve(|builder| builder.listen(Listen::from("127.0.0.1:0").tls(tls)));
    let address = handle.addresses()[1].clone();
    let mut open = Client::over(encrypted(&first.client(None), &address));
    open.ask("mn\r\n", "MN\r\n");

    files(&folder, &second.sign("localhost"));
    assert!(is_served(&first.client(None), &address), "nothing was said yet");
    handle.reload().unwrap();
    assert!(is_served(&second.client(None), &address));
    assert!(!is_served(&first.client(None), &address));
    open.ask("mn\r\n", "MN\r\n");

    // What is wrong does not come into force.
    fs::write(folder.path("key.pem"), "no key").unwrap();
    assert!(matches!(handle.reload(), Err(ServerError::Certificate { .. })));
    assert!(is_served(&second.client(None), &address));
}

#[test]
fn wrong_files_are_named() {
    let (folder, authority) = (Folder::new(), Authority::new());
    let (one, other) = (authority.sign("localhost"), authority.sign("localhost"));
    let (chain, key) = (folder.write("chain.pem", &one.chain), folder.write("key.pem", &one.key));
    let empty = folder.write("empty.pem", "");
    let mixed = folder.write("mixed.pem", &other.key);
    for (tls, culprit) in [
        (Tls::new("/nowhere/chain.pem", &key), "/nowhere/chain.pem"),
        (Tls::new(&empty, &key), "empty.pem"),
        (Tls::new(&chain, &empty), "empty.pem"),
        (Tls::new(&chain, &mixed), "chain.pem"),
        (Tls::new(&chain, &key).client_ca(&empty), "empty.pem"),
    ] {
        let error = Server::builder().listen(Listen::from("127.0.0.1:0").tls(tls)).build(cache()).err().unwrap();
        assert!(error.to_string().contains(culprit), "{error}");
    }
}

#[test]
fn who_goes_away_amid_the_handshake_is_forgotten() {
    let (folder, authority) = (Folder::new(), Authority::new());
    let tls = files(&folder, &authority.sign("localhost"));
    let handle = serve(|builder| builder.listen(Listen::from("127.0.0.1:0").tls(tls)));
    for _ in 0..10 {
        let mut client = Client::at(&handle.addresses()[1]);
        // A record that says it has more.
        client.send([0x16, 3, 1, 2, 0, 1]);
    }
    let mut client = Client::connect(&handle);
    until("they are gone", || client.stat("curr_connections") == 1);
}
