//! Every metric of the gateway. Adding one is adding a row, and a line where it is gathered.

use super::{Kind, Metric};

macro_rules! metrics {
    ($($id:ident: $kind:ident $name:literal [$($label:literal)*] $help:literal;)*) => {
        $(
            #[doc = $help]
            pub static $id: Metric =
                Metric { name: $name, kind: Kind::$kind, labels: &[$($label),*], help: $help };
        )*

        /// All of them.
        pub static ALL: &[&Metric] = &[$(&$id),*];
    };
}

metrics! {
    // The process.
    BUILD_INFO: Gauge "causeway_build_info" ["version"] "1, with the version that runs.";
    PROCESS_CPU: Counter "process_cpu_seconds_total" [] "Processor time of the process, of user and system.";
    PROCESS_RESIDENT: Gauge "process_resident_memory_bytes" [] "Memory of the process that is in RAM.";
    PROCESS_VIRTUAL: Gauge "process_virtual_memory_bytes" [] "Address space of the process.";
    PROCESS_OPEN_FDS: Gauge "process_open_fds" [] "File descriptors that are open.";
    PROCESS_MAX_FDS: Gauge "process_max_fds" [] "File descriptors that the process may have.";
    PROCESS_START: Gauge "process_start_time_seconds" [] "When the process has started, in seconds since 1970.";
    THREAD_CPU: Counter "causeway_thread_cpu_seconds_total" ["thread"] "Processor time of each signalling and media thread; its rate is the load, 1 when one is busy.";
    LIVE: Gauge "causeway_live" [] "1 while the process works, as /healthz says.";
    READY: Gauge "causeway_ready" [] "1 while it is to be given calls, as /readyz says.";
    DRAINING: Gauge "causeway_draining" [] "1 while no new calls are taken.";

    // SIP messages.
    SIP_RECEIVED: Counter "causeway_sip_messages_received_total" [] "Messages received, whatever they are.";
    SIP_REQUESTS: Counter "causeway_sip_requests_received_total" ["method"] "Requests received, by method.";
    SIP_RESPONSES: Counter "causeway_sip_responses_received_total" ["class"] "Responses received, by class.";
    SIP_FORWARDED: Counter "causeway_sip_forwarded_total" ["kind"] "Requests and responses sent on; each branch of a request counts.";
    SIP_ANSWERED: Counter "causeway_sip_answered_total" ["code"] "Requests answered here and not relayed, by code; a class counts what of it has no row of its own.";
    SIP_DROPPED: Counter "causeway_sip_dropped_total" ["reason"] "Messages dropped without a word, by reason.";
    SIP_MALFORMED: Counter "causeway_sip_malformed_total" ["kind"] "Messages that did not parse.";
    SIP_REFUSED: Counter "causeway_sip_refused_total" ["reason"] "Requests refused, by reason.";
    SIP_KEEPALIVES: Counter "causeway_sip_keepalives_total" [] "Messages of nothing but line ends.";
    SIP_TOO_LONG: Counter "causeway_sip_too_long_requests_total" ["sent"] "Requests too long for a datagram: sent over TCP, or in fragments all the same.";
    SIP_NATPINGS: Counter "causeway_sip_natpings_total" ["state"] "Contacts asked whether they are still there, and their answers.";

    // Transactions.
    TRANSACTIONS: Gauge "causeway_transactions" ["state"] "Transactions that there are: active, or answered and waiting for late messages.";
    TRANSACTIONS_CREATED: Counter "causeway_transactions_created_total" ["role"] "Transactions made: server (received), and client ones of the gateway's own.";
    TRANSACTIONS_ANSWERED: Counter "causeway_transactions_answered_total" ["class"] "Server transactions by the class of their final response.";
    TRANSACTIONS_REFUSED: Counter "causeway_transactions_refused_total" [] "Requests refused with 503 because the table was full.";
    RETRANSMISSIONS: Counter "causeway_sip_retransmissions_total" [] "Messages sent again, by a timer or for a retransmission.";
    RESPONSES_SENT: Counter "causeway_sip_responses_sent_total" [] "Responses sent, retransmissions included.";

    // Users.
    REGISTRATIONS: Gauge "causeway_registrations" ["transport"] "Contacts that are registered, by the transport of their REGISTER.";
    REGISTERED_USERS: Gauge "causeway_registered_users" [] "Addresses of record with a contact.";
    REGISTER_REQUESTS: Counter "causeway_register_requests_total" ["result"] "REGISTER requests accepted and rejected.";
    REGISTRATIONS_EXPIRED: Counter "causeway_registrations_expired_total" [] "Contacts that have run out.";
    AUTH_FAILURES: Counter "causeway_auth_failures_total" ["reason"] "Credentials refused: wrong, or not looked at because there were too many wrong ones.";
    AUTH_BLOCKED: Gauge "causeway_auth_blocked" [] "Users and addresses whose credentials are not looked at now.";
    BANNED_SOURCES: Gauge "causeway_banned_sources" [] "Sources that are not heard now, because they have sent too much.";
    SECFILTER_MATCHES: Counter "causeway_secfilter_matches_total" ["list" "what"] "Requests found on a list of secfilter, by list and what was looked up.";
    ALARMS: Counter "causeway_alarms_total" ["kind"] "Alarms raised, by what they are about.";

    // Calls.
    CALLS: Gauge "causeway_calls" ["state"] "Calls that there are: early (not answered yet) and confirmed.";
    CALLS_STARTED: Counter "causeway_calls_started_total" [] "Calls let through to their callees.";
    CALLS_FAILED: Counter "causeway_calls_failed_total" [] "Calls that nobody has answered.";
    CALLS_EXPIRED: Counter "causeway_calls_expired_total" [] "Answered calls that ended by themselves: no refresh, no media, no keep-alive, too long.";
    CALLS_REFUSED: Counter "causeway_calls_refused_total" ["reason"] "Calls refused, by reason.";
    CALLS_TOLL_ENDED: Counter "causeway_calls_toll_ended_total" [] "Calls ended because a limit of the day was reached.";
    CALLS_ANNOUNCED: Counter "causeway_call_announcements_total" [] "Calls whose callers were told in sound why they are refused.";

    // Transports.
    CONNECTIONS: Gauge "causeway_connections" ["transport"] "Connections of SIP that are open.";
    CONNECTIONS_OPENED: Counter "causeway_connections_opened_total" ["transport"] "Connections of SIP opened, by either side.";
    CONNECTIONS_REFUSED: Counter "causeway_connections_refused_total" ["reason"] "Connections refused, because there are too many, or too many handshakes.";
    CONNECTIONS_CLOSED: Counter "causeway_connections_closed_total" ["reason"] "Connections closed here: their peers did not read, or were silent.";
    TLS_HANDSHAKES: Counter "causeway_tls_handshakes_total" ["result"] "TLS handshakes of peers that have connected: completed, and failed or too slow.";
    TRANSPORT_MESSAGES: Counter "causeway_transport_messages_total" ["transport" "direction"] "SIP messages by transport; over UDP every datagram.";
    TRANSPORT_BYTES: Counter "causeway_transport_bytes_total" ["transport" "direction"] "Bytes of these.";
    SEND_QUEUE: Gauge "causeway_connections_send_queue_bytes" [] "Bytes that wait for connections.";
    DATAGRAMS_LOST: Counter "causeway_udp_datagrams_lost_total" ["direction"] "Datagrams dropped: received, since their thread was busy; sent, since the kernel would not take them.";
    WORKERS: Gauge "causeway_workers" [] "Signalling threads.";
    WORKER_QUEUE: Gauge "causeway_worker_queue_messages" ["worker"] "Messages of other threads that wait for a signalling thread.";
    WORKER_QUEUE_BYTES: Gauge "causeway_worker_queue_bytes" ["worker"] "Bytes of all messages that wait for a signalling thread.";

    // Store.
    DATABASE_UP: Gauge "causeway_database_up" [] "1 while the database answers.";
    DATABASE_QUEUE: Gauge "causeway_database_queue_length" [] "Addresses of record whose registrations wait to be written.";
    DATABASE_LAG: Gauge "causeway_database_lag_seconds" [] "How long there has been something to write without a pause.";
    DATABASE_FAILURES: Counter "causeway_database_failures_total" [] "Questions to the database without an answer.";
    DATABASE_LOST: Counter "causeway_database_lost_writes_total" [] "Changes of registrations that will never be written.";
    RECORDS_QUEUE: Gauge "causeway_call_records_queue_length" [] "Call records on their way to their destinations.";
    RECORDS_ASIDE: Counter "causeway_call_records_set_aside_total" [] "Call records set aside because their destination has taken none for too long.";

    // Media.
    RELAY_UP: Gauge "causeway_relay_up" ["relay"] "1 while a relay is in use and answers.";
    RELAY_CALLS: Gauge "causeway_relay_calls" ["relay"] "Calls at a relay.";
    MEDIA_COMMANDS: Counter "causeway_media_commands_total" ["command"] "Offers given to a relay, those that none took, and deletions.";
    MEDIA_STREAMS: Gauge "causeway_media_streams" [] "Lines of media in the relay of this process.";
    MEDIA_TRANSCODED: Gauge "causeway_media_transcoded_streams" [] "Of these, those that are transcoded.";
    MEDIA_PORTS: Gauge "causeway_media_ports" ["state"] "UDP ports for media, used and free.";
    MEDIA_CALLS_ENDED: Counter "causeway_media_calls_ended_total" ["reason"] "Calls that the relay has ended, by reason.";
    MEDIA_SILENT: Counter "causeway_media_silent_streams_total" ["ways"] "Streams of ended calls in which one end was heard alone, or none.";
    MEDIA_PACKETS: Counter "causeway_media_packets_total" ["what"] "RTP packets by what became of them.";
    MEDIA_BYTES: Counter "causeway_media_forwarded_bytes_total" [] "Bytes of the RTP packets that were sent on.";
    MEDIA_RTCP: Counter "causeway_media_rtcp_packets_total" ["direction"] "RTCP packets.";
    MEDIA_DROPPED: Counter "causeway_media_dropped_datagrams_total" ["reason"] "Datagrams dropped on arrival, by reason.";
    MEDIA_DTLS: Counter "causeway_media_dtls_handshakes_total" ["result"] "DTLS handshakes, completed and failed.";
    MEDIA_RECORDINGS: Counter "causeway_media_recordings_total" [] "Recordings begun.";
    CALL_MOS: Histogram "causeway_call_mos" [] "Mean opinion score (ITU-T G.107, 1 to 4.5) of what each end of an ended call has sent.";
    CALL_JITTER: Histogram "causeway_call_jitter_seconds" [] "Interarrival jitter (RFC 3550) of the same.";
    CALL_LOSS: Histogram "causeway_call_packet_loss_ratio" [] "Share of packets of the same that did not come, 0 to 1.";

    // What is told to others.
    HEP_SENT: Counter "causeway_hep_packets_sent_total" [] "Packets sent to the collector of siptrace.duplicate_uri.";
    HEP_LOST: Counter "causeway_hep_packets_lost_total" [] "Packets for it that had no room, or that it did not take.";
    EVENTS_SENT: Counter "causeway_events_sent_total" ["way"] "Events taken by webhooks, and given to readers of the stream.";
    EVENTS_LOST: Counter "causeway_events_lost_total" ["way"] "Events that webhooks have not taken, or that had no room; those that readers of the stream were too slow for, and those for which there was no room at all.";
}
