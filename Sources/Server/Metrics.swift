internal import Basics
internal import MetadataModel
internal import ReplicaCore
internal import Telemetry
internal import Transport
internal import Wire

/// The metrics of a node. Each is there for something that an operator looks at or is woken by; ops/prometheus and
/// ops/grafana use them, and docs/OPERATIONS.md says when to act.
enum Metrics {
    typealias Family = MetricFamily

    static func families(
        _ inspection: NodeInspection?, _ configuration: ServerConfiguration, at now: Instant
    ) -> [Family] {
        var families = [
            Family(
                "quorate_build_info", .gauge, "Always 1; the label says which release runs.",
                [Family.Sample(.whole(1), labels: [("version", Version.current)])]),
            Family(
                "quorate_up", .gauge, "1 while the node's event loop answers, 0 when it hangs.",
                flag(inspection != nil)),
        ]
        guard let inspection else { return families }
        families += identity(inspection.status) + position(inspection) + disk(inspection, configuration)
        families.append(
            Family(
                "quorate_certificate_expiry_timestamp_seconds", .gauge,
                "When the node's TLS certificate ends, in seconds since 1970; absent without TLS.",
                inspection.certificateExpiresAt.map { .number(Double($0)) }))
        if let counters = inspection.transport { families += transport(counters) }
        if let figures = inspection.figures {
            families += events(figures) + scrubs(figures) + requests(figures.replica) + latencies(figures, at: now)
            families += peers(inspection.status, figures.replica)
        }
        return families
    }

    private static func flag(_ value: Bool) -> Family.Value { .whole(value ? 1 : 0) }

    /// One sample for each value that there may be, 1 at the one that holds.
    private static func states<Value: CaseIterable & Equatable>(
        _ label: String, _ current: Value
    ) -> [Family.Sample] {
        Value.allCases.map { Family.Sample(flag($0 == current), labels: [(label, "\($0)")]) }
    }

    // MARK: Who and where

    private static func identity(_ status: StatusReply) -> [Family] {
        let voters = status.members.count { $0.isVoter }
        return [
            Family(
                "quorate_node_info", .gauge, "Always 1; the labels name the node and its cluster.",
                [
                    Family.Sample(
                        .whole(1),
                        labels: [
                            ("node", status.node.name), ("cluster", status.identity.map { "\($0)" } ?? ""),
                        ])
                ]),
            Family(
                "quorate_node_role", .gauge, "1 for the role that the node has, 0 for the others.",
                states("role", status.node.role)),
            Family(
                "quorate_node_state", .gauge,
                "1 for the state that the node is in, 0 for the others. Only in state ok it takes part in everything.",
                states("state", status.node.state)),
            Family(
                "quorate_leader_known", .gauge, "1 if the node knows a leader. Without one nothing is served.",
                flag(status.leader != nil)),
            Family(
                "quorate_alarm", .gauge, "1 for each alarm that stands at the node, 0 for the others: `quorate alarm list`.",
                AlarmName.allCases.map { name in
                    Family.Sample(
                        flag(status.alarms.contains { $0.name == name.rawValue }), labels: [("name", name.rawValue)])
                }),
            Family(
                "quorate_members", .gauge, "Members of the configuration in force, by kind.",
                [
                    Family.Sample(.whole(UInt64(voters)), labels: [("kind", "voter")]),
                    Family.Sample(.whole(UInt64(status.members.count - voters)), labels: [("kind", "learner")]),
                ]),
        ]
    }

    private static func position(_ inspection: NodeInspection) -> [Family] {
        let node = inspection.status.node
        let figures = inspection.figures
        return [
            Family("quorate_term", .gauge, "The node's term; it rises with every election.", .whole(node.term.rawValue)),
            Family(
                "quorate_commit_index", .gauge, "Last entry that the node knows to be committed.",
                .whole(node.commitIndex.rawValue)),
            Family(
                "quorate_applied_index", .gauge,
                "Last entry in the state that the node serves. Look when it stays behind quorate_commit_index.",
                .whole(node.lastApplied.rawValue)),
            Family(
                "quorate_durable_index", .gauge, "Last entry in the state on disk; the log after it is replayed at a start.",
                figures.map { .whole($0.replica.durableIndex.rawValue) }),
            Family("quorate_log_first_index", .gauge, "First entry in the log.", .whole(node.firstIndex.rawValue)),
            Family("quorate_log_last_index", .gauge, "Last entry in the log.", .whole(node.lastIndex.rawValue)),
            Family(
                "quorate_leader_silence_seconds", .gauge,
                "Time since the leader was heard, 0 on the leader itself; absent while none is known.",
                figures?.replica.leaderSilence.map { .number(seconds($0)) }),
            Family(
                "quorate_loop_delay_seconds", .gauge, "How long this scrape waited for the node's event loop.",
                .number(seconds(inspection.loopDelay))),
        ]
    }

    private static func disk(_ inspection: NodeInspection, _ configuration: ServerConfiguration) -> [Family] {
        let storage = inspection.figures?.storage
        return [
            Family(
                "quorate_disk_free_bytes", .gauge, "Free space of the file system that holds the data directory.",
                .whole(inspection.status.node.diskFree)),
            Family(
                "quorate_disk_reserve_bytes", .gauge, "Below this free space the node takes nothing new.",
                .whole(UInt64(configuration.diskReserveSize))),
            Family(
                "quorate_log_bytes", .gauge, "Log segments on disk.", storage.map { .whole(UInt64($0.logBytes)) }),
            Family(
                "quorate_log_max_bytes", .gauge, "Log that is kept at most for members that are behind.",
                .whole(UInt64(configuration.logSizeMax))),
            Family("quorate_state_bytes", .gauge, "Files of the state.", storage.map { .whole($0.meter.stateBytes) }),
            Family(
                "quorate_state_memory_bytes", .gauge, "Memory of the state's engine: write buffers, caches, indexes.",
                storage.map { .whole($0.meter.stateMemoryBytes) }),
        ]
    }

    // MARK: What has happened

    private static func events(_ figures: NodeFigures) -> [Family] {
        let events = figures.events
        return [
            Family(
                "quorate_elections_total", .counter, "Times that this node began to campaign.",
                .whole(events.elections)),
            Family(
                "quorate_leader_changes_total", .counter,
                "Times that this node saw another leader than before. Often: look at network and disks.",
                .whole(events.leaderChanges)),
            Family(
                "quorate_snapshots_built_total", .counter, "Snapshots that this node has written.",
                .whole(events.snapshotsBuilt)),
            Family(
                "quorate_snapshots_installed_total", .counter, "Snapshots that this node has taken from another.",
                .whole(events.snapshotsInstalled)),
            Family(
                "quorate_snapshot_failures_total", .counter, "Snapshots that could not be written, fetched or installed.",
                .whole(events.snapshotFailures)),
            Family(
                "quorate_snapshot_last_timestamp_seconds", .gauge,
                "When the newest snapshot was written or taken, in seconds since 1970; absent before the first.",
                events.lastSnapshot.map { .number(Double($0.at.nanoseconds) / 1e9) }),
            Family(
                "quorate_snapshot_last_index", .gauge, "Last entry in the newest snapshot; absent before the first.",
                events.lastSnapshot.map { .whole($0.through.rawValue) }),
            Family(
                "quorate_peer_messages_refused_total", .counter,
                "Messages of other nodes that cannot be what they claim. Any: look at the log, it names the peer.",
                .whole(events.badPeerMessages)),
            Family(
                "quorate_divergences_total", .counter,
                "Times that members' states were found to differ. Any: keep the logs and report it.",
                .whole(events.divergences)),
        ]
    }

    private static func scrubs(_ figures: NodeFigures) -> [Family] {
        [
            Family(
                "quorate_scrub_running", .gauge, "1 while the node reads every byte that it keeps.",
                flag(figures.scrubs.isRunning)),
            Family(
                "quorate_scrub_last_end_timestamp_seconds", .gauge,
                "When the node had last read every byte that it keeps, in seconds since 1970; absent before the first time. "
                    + "Much older than --scrub-period: look why.",
                figures.lastScrub.map { .number(Double($0.nanoseconds) / 1e9) }),
            Family(
                "quorate_scrub_bytes_total", .counter, "Bytes that scrubs have read.", .whole(figures.scrubs.bytesRead)),
            Family(
                "quorate_scrub_damages_total", .counter,
                "Damaged places that scrubs have found. Any: look at the disk. quorate_alarm tells whether damage stands.",
                .whole(figures.scrubs.damagesFound)),
        ]
    }

    private static func requests(_ replica: ReplicaFigures) -> [Family] {
        let counters = replica.counters
        return [
            Family(
                "quorate_requests_total", .counter, "Requests that clients have sent to this node.",
                .whole(counters.requests)),
            Family(
                "quorate_proposals_total", .counter, "Commands that this node has put into the log as the leader.",
                .whole(counters.proposals)),
            Family(
                "quorate_writes_total", .counter, "Commands that were committed and applied while this node led.",
                .whole(counters.writes)),
            Family(
                "quorate_reads_total", .counter, "Queries that this node has answered from its state.",
                .whole(counters.reads)),
            Family(
                "quorate_requests_refused_total", .counter, "Requests that this node turned down, by error code.",
                counters.refusalsByCode.map { Family.Sample(.whole($0.count), labels: [("code", $0.code.name)]) }),
            Family(
                "quorate_pending_requests", .gauge, "Requests of clients that wait for their reply.",
                .whole(UInt64(max(0, replica.requestsPending)))),
            Family(
                "quorate_pending_writes", .gauge, "Commands that wait to be committed and applied.",
                .whole(UInt64(max(0, replica.writesPending)))),
            Family(
                "quorate_client_connections", .gauge, "Connections of clients that are open.",
                .whole(UInt64(max(0, replica.clientConnections)))),
            Family(
                "quorate_watches", .gauge, "Watches that are open on this node.",
                .whole(UInt64(max(0, replica.watches)))),
            Family(
                "quorate_watch_under_way_bytes", .gauge, "Sent to watches and not yet read by their clients.",
                .whole(UInt64(max(0, replica.watchBytesUnderWay)))),
        ]
    }

    private static func latencies(_ figures: NodeFigures, at now: Instant) -> [Family] {
        let meter = figures.storage.meter
        return [
            Family(
                "quorate_log_sync_seconds", .histogram,
                "Writing a batch to the log and syncing it. Above 0.01 the disk limits every write.",
                .latencies(meter.syncs)),
            Family(
                "quorate_log_sync_pending_seconds", .gauge,
                "How long the write of the log that is under way has taken so far; 0 without one.",
                .number(seconds(meter.syncPending(at: now)))),
            Family(
                "quorate_commit_seconds", .histogram,
                "On the leader, for each command: from the closing of its batch to its commit.",
                .latencies(figures.replica.counters.commitLatencies)),
            Family(
                "quorate_write_seconds", .histogram,
                "On the leader, for each command: from the arrival of the first of its batch to the reply.",
                .latencies(figures.replica.counters.writeLatencies)),
            Family("quorate_sessions", .gauge, "Sessions of clients that are open.", .whole(UInt64(max(0, meter.sessions)))),
        ]
    }

    // MARK: Others

    private static func transport(_ counters: TransportCounters) -> [Family] {
        [
            Family(
                "quorate_connections_opened_total", .counter, "Connections of clients and nodes, accepted or made.",
                .whole(counters.connectionsOpened)),
            Family(
                "quorate_connections_refused_total", .counter, "Connections that were one too many for a limit.",
                .whole(counters.connectionsRefused)),
            Family(
                "quorate_connection_timeouts_total", .counter,
                "Connections closed because a handshake or a frame did not come to its end.",
                .whole(counters.timeouts)),
            Family(
                "quorate_slow_readers_total", .counter, "Connections closed because the other side read too slowly.",
                .whole(counters.slowReaders)),
            Family("quorate_frames_total", .counter, "Frames received.", .whole(counters.framesReceived)),
            Family(
                "quorate_bad_frames_total", .counter, "Connections closed for bytes that were no frame.",
                .whole(counters.badFrames)),
        ]
    }

    private static func peers(_ status: StatusReply, _ replica: ReplicaFigures) -> [Family] {
        let others = status.members.filter { $0.id != status.node.id }
        let progress = others.compactMap { member in member.progress.map { (member.name, $0) } }
        func sample(_ peer: String, _ value: Family.Value) -> Family.Sample {
            Family.Sample(value, labels: [("peer", peer)])
        }
        return [
            Family(
                "quorate_peer_connected", .gauge, "1 if this node has a connection to the other member.",
                others.map { member in
                    sample(member.name, flag(replica.peers.contains { $0.id == member.id && $0.isConnected }))
                }),
            Family(
                "quorate_peer_reachable", .gauge, "On the leader: 1 if the member was heard within an election timeout.",
                progress.map { sample($0, flag($1.isReachable)) }),
            Family(
                "quorate_peer_match_index", .gauge, "On the leader: last entry that the member has on disk.",
                progress.map { sample($0, .whole($1.matchIndex.rawValue)) }),
            Family(
                "quorate_peer_lag_entries", .gauge, "On the leader: entries that the member has not acknowledged.",
                progress.map { sample($0, .whole($1.lag)) }),
            Family(
                "quorate_peer_applied_index", .gauge, "On the leader: last entry that the member says it has applied.",
                progress.map { sample($0, .whole($1.lastApplied.rawValue)) }),
        ]
    }
}
