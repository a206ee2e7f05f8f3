//! What peers may ask of us.

use super::Key;

pub(super) const KEYS: &[Key] = &[
    Key {
        name: "limits.connections",
        allowed: "1 to 1000000",
        default: "10000",
        about: "Stream connections at a time (TCP, TLS, HTTPS, WebSocket); more are closed at once.",
        set: |c, v| v.number(1, 1_000_000).map(|number| c.limits.connections = number),
    },
    Key {
        name: "limits.connections_per_source",
        allowed: "1 to 1000000",
        default: "2000",
        about: "The same from one address. An office behind NAT is one address.",
        set: |c, v| v.number(1, 1_000_000).map(|number| c.limits.connections_per_source = number),
    },
    Key {
        name: "limits.handshakes",
        allowed: "1 to 100000",
        default: "2000",
        about: "Connections at a time that have not finished their TLS handshake.",
        set: |c, v| v.number(1, 100_000).map(|number| c.limits.handshakes = number),
    },
    Key {
        name: "limits.handshakes_per_source",
        allowed: "1 to 100000",
        default: "256",
        about: "The same from one address.",
        set: |c, v| v.number(1, 100_000).map(|number| c.limits.handshakes_per_source = number),
    },
    Key {
        name: "limits.handshake_timeout",
        allowed: "100 to 120000 ms",
        default: "10000",
        about: "A TLS handshake, or the dialling of a peer, that takes longer is given up.",
        set: |c, v| v.milliseconds(100, 120_000).map(|time| c.limits.handshake_timeout = time),
    },
    Key {
        name: "limits.header_timeout",
        allowed: "100 to 120000 ms",
        default: "15000",
        about: "An HTTP request must have sent its header within this time, and a kept connection its next one.",
        set: |c, v| v.milliseconds(100, 120_000).map(|time| c.limits.header_timeout = time),
    },
    Key {
        name: "limits.idle_timeout",
        allowed: "1 to 86400 seconds",
        default: "3900",
        about: "A SIP connection over TCP or TLS that brings nothing for this long is closed; a bit above registrar.max_expires.",
        set: |c, v| v.seconds(1, 86_400).map(|time| c.limits.idle_timeout = time),
    },
    Key {
        name: "limits.message_size",
        allowed: "4096 to 1048576 bytes",
        default: "65535",
        about: "The largest SIP message on a stream or WebSocket; a larger one closes the connection.",
        set: |c, v| v.number(4096, 1_048_576).map(|number| c.limits.message_size = number),
    },
    Key {
        name: "limits.send_queue",
        allowed: "8 to 65536 messages",
        default: "256",
        about: "Messages that wait for a peer that reads slowly; one more closes its connection.",
        set: |c, v| v.number(8, 65_536).map(|number| c.limits.send_queue = number),
    },
    Key {
        name: "limits.worker_queue",
        allowed: "64 to 1048576 messages",
        default: "8192",
        about: "Messages that wait for a signalling thread, and as many that belong to calls. When it is full, datagrams are dropped and streams wait.",
        set: |c, v| v.number(64, 1_048_576).map(|number| c.limits.worker_queue = number),
    },
    Key {
        name: "limits.worker_queue_bytes",
        allowed: "2097152 to 4294967295 bytes",
        default: "67108864",
        about: "Bytes of those messages.",
        set: |c, v| v.number(2_097_152, 4_294_967_295).map(|number| c.limits.worker_queue_bytes = number),
    },
    Key {
        name: "limits.max_delay",
        allowed: "50 to 10000 ms",
        default: "1000",
        about: "When messages wait longer than this for a signalling thread, requests that begin something are answered 503 until it has caught up.",
        set: |c, v| v.milliseconds(50, 10_000).map(|time| c.limits.max_delay = time),
    },
    Key {
        name: "limits.max_pending",
        allowed: "10 to 1000000",
        default: "10000",
        about: "Requests of one signalling thread that may wait for the database, a name server or the relay at a time; more are answered 503.",
        set: |c, v| v.number(10, 1_000_000).map(|number| c.limits.max_pending = number),
    },
    Key {
        name: "limits.retry_after",
        allowed: "1 to 3600 seconds",
        default: "10",
        about: "Retry-After in those 503: how long a phone should be quiet.",
        set: |c, v| v.number(1, 3600).map(|number| c.limits.retry_after = number),
    },
];
