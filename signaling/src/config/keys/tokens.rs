//! What web applications sign their users in with, under the names of Kamailio's modules `jwt` and `auth_ephemeral`. All of it is
//! read again by `causeway reload`, so that keys can be changed while the gateway runs.

use std::fs;

use rustls_pki_types::SubjectPublicKeyInfoDer;
use rustls_pki_types::pem::PemObject as _;
use signaling_core::token::ephemeral::Ephemeral;
use signaling_core::token::{Key as TokenKey, NamedKey};
use x509_parser::prelude::{FromDer as _, SubjectPublicKeyInfo};
use x509_parser::public_key::PublicKey;

use super::Key;

const FILE: &str = "a path; empty for none";

pub(super) const KEYS: &[Key] = &[
    Key {
        name: "jwt.jwks_file",
        allowed: FILE,
        default: "\"\"",
        about: "A JWK set (RFC 7517) with the keys of the tokens (JWT) that prove who a user is in place of a password: oct for HS256, RSA for RS256, P-256 for ES256. A user comes with \"Authorization: Bearer TOKEN\" (RFC 8898); JsSIP does with its option authorization_jwt.",
        set: |c, v| {
            let keys = v
                .optional()?
                .map(|path| NamedKey::of_set(&read(&path)?).map_err(|error| format!("{path}: {error}")));
            c.tokens.jwks = keys.transpose()?.unwrap_or_default();
            Ok(())
        },
    },
    Key {
        name: "jwt.public_key_file",
        allowed: FILE,
        default: "\"\"",
        about: "A public key as PEM, for RS256 or ES256.",
        set: |c, v| {
            let key = v.optional()?.map(|path| public_key(&path).map_err(|error| format!("{path}: {error}")));
            c.tokens.public_key = key.transpose()?;
            Ok(())
        },
    },
    Key {
        name: "jwt.secret",
        allowed: "text of at least 32 bytes; empty for none",
        default: "\"\"",
        about: "The secret of tokens signed with HS256.",
        set: |c, v| {
            c.tokens.secret = v.optional()?.map(|secret| TokenKey::hs256(secret.as_bytes())).transpose()?;
            Ok(())
        },
    },
    Key {
        name: "jwt.issuer",
        allowed: "text; empty for any",
        default: "\"\"",
        about: "What the claim iss of a token must say.",
        set: |c, v| v.optional().map(|text| c.tokens.issuer = text),
    },
    Key {
        name: "jwt.audience",
        allowed: "a list of text; empty for sip.domain, and for tokens that name no audience",
        default: "[]",
        about: "One of these must be in the claim aud of a token.",
        set: |c, v| v.list().map(|list| c.tokens.audience = list),
    },
    Key {
        name: "jwt.user_claim",
        allowed: "the name of a claim",
        default: "\"sub\"",
        about: "The claim that names the user: NAME, NAME@DOMAIN or sip:NAME@DOMAIN.",
        set: |c, v| v.text().map(|text| c.tokens.user_claim = text),
    },
    Key {
        name: "jwt.leeway",
        allowed: "0 to 300 seconds",
        default: "10",
        about: "How far the clocks of issuer and gateway may be apart.",
        set: |c, v| v.number(0, 300).map(|seconds| c.tokens.leeway = seconds),
    },
    Key {
        name: "jwt.authz_server",
        allowed: "an https URL; empty for none",
        default: "\"\"",
        about: "Where tokens are to be had; challenges say it.",
        set: |c, v| {
            let url = v.optional()?;
            if url.as_ref().is_some_and(|url| !url.starts_with("https://") || url.contains(['"', ' ', '\\']))
            {
                return Err("it is no https URL".to_owned());
            }
            c.tokens.authz_server = url;
            Ok(())
        },
    },
    Key {
        name: "auth_ephemeral.secret",
        allowed: "a list of text; empty for none",
        default: "[]",
        about: "Secrets shared with a web application that gives out credentials which are good for a while: the user name is EXPIRY:NAME, with the end in seconds since 1970, and the password the base64 of its HMAC-SHA1 by one of the secrets, as TURN servers take them.",
        set: |c, v| {
            let secrets = v.list()?;
            if secrets.iter().any(|secret| secret.len() < 16) {
                return Err("a secret is shorter than 16 bytes".to_owned());
            }
            c.tokens.ephemeral = Ephemeral::new(&secrets);
            Ok(())
        },
    },
];

fn read(path: &str) -> Result<String, String> {
    fs::read_to_string(path).map_err(|error| format!("{path}: {error}"))
}

fn public_key(path: &str) -> Result<TokenKey, String> {
    let spki =
        SubjectPublicKeyInfoDer::from_pem_file(path).map_err(|error| format!("no public key: {error}"))?;
    let no_key = || "no public key".to_owned();
    let (_, info) = SubjectPublicKeyInfo::from_der(&spki).map_err(|_| no_key())?;
    match info.parsed().map_err(|_| no_key())? {
        PublicKey::RSA(key) => TokenKey::rs256(key.modulus, key.exponent),
        PublicKey::EC(point) => TokenKey::es256(point.data()),
        _ => Err("neither an RSA key nor one of P-256".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn refused(text: &str) -> String {
        Config::parse(text, "x.toml").map(|_| ()).expect_err(text).to_string()
    }

    #[test]
    fn keys_are_read_where_they_are_named() {
        let folder = tempfile::tempdir().expect("folder");
        let path = |name: &str| folder.path().join(name).display().to_string();
        fs::write(path("empty.json"), "{\"keys\": []}").expect("written");
        let pair = rcgen::KeyPair::generate().expect("a key");
        fs::write(path("ec.pem"), pair.public_key_pem()).expect("written");
        fs::write(path("no.pem"), "no key").expect("written");
        let text = format!(
            "[jwt]\npublic_key_file = {:?}\nsecret = \"0123456789abcdef0123456789abcdef\"\n[sip]\ndomain = \"sip.example\"\n",
            path("ec.pem")
        );
        let config = Config::parse(&text, "x.toml").expect("good");
        let tokens = config.policy().tokens.expect("tokens");
        let algorithms: Vec<_> = tokens.keys.iter().map(|key| key.key.algorithm()).collect();
        assert_eq!(algorithms, ["ES256", "HS256"]);
        assert_eq!((tokens.audience, tokens.audience_optional), (vec!["sip.example".to_owned()], true));
        assert!(Config::parse("", "x.toml").expect("good").policy().tokens.is_none(), "no key, no tokens");
        for (line, expected) in [
            (format!("jwks_file = {:?}", path("none.json")), "No such file"),
            (format!("jwks_file = {:?}", path("empty.json")), "no key for HS256, RS256 or ES256"),
            (format!("public_key_file = {:?}", path("no.pem")), "no public key"),
            ("secret = \"s3cr3t\"".to_owned(), "shorter than 32 bytes"),
            ("authz_server = \"http://x\"".to_owned(), "no https URL"),
        ] {
            let error = refused(&format!("[jwt]\n{line}\n"));
            assert!(error.contains(expected) && !error.contains("s3cr3t"), "{line}: {error}");
        }
        let error = refused("[auth_ephemeral]\nsecret = [\"s3cr3t\"]\n");
        assert!(error.contains("shorter than 16 bytes") && !error.contains("s3cr3t"), "{error}");
    }
}
