internal import Basics
internal import ClientCore
internal import MetadataMachine
internal import MetadataModel
internal import RegistryModel
internal import ReplicaStorage
internal import StateEngine
internal import Wire

/// What becomes of a master's commands, and whoever reads and watches the registry, in worlds that have one.
extension World {
    func startRegistry() {
        guard settings.hasRegistry else { return }
        oracle.registry = RegistryOracle()
        for number in 0..<RegistryCast.readerCount {
            let client = (RegistryCast.masterCount + number) % clients.count
            cast.readers.append(RegistryReader(number: number, client: client))
        }
    }

    /// Commands of masters that took effect.
    package var registryCommands: Int { oracle.registry?.commandCount ?? 0 }
    /// Rows that were read page by page, and changes that watches told, and right.
    package var registryRowsRead: Int { cast.rowsRead }
    package var registryChangesTold: Int { cast.changesTold }

    // MARK: - Outcomes

    /// Reads what follows the head of an answer.
    func registryAnswered(
        _ ask: RegistryAsk, _ reader: inout ByteReader, at revision: LogIndex, _ client: SimClient
    ) throws(DecodeError) {
        switch ask {
        case .stand:
            let result = try TicketResult(decoding: &reader)
            client.master.ticket = result.ticket
            client.master.hasTakenOver = false
            client.master.fence = result.fence > 0 ? result.fence : nil
        case .find(let ticket):
            let candidate = try ListPart<Candidate>(decoding: &reader).items.first { $0.ticket == ticket }
            guard client.master.ticket == ticket, client.master.fence == nil else { return }
            guard let candidate else { return client.master.stepDown() }
            client.master.fence = candidate.fence > 0 ? candidate.fence : nil
        case .leave: client.master.stepDown()
        case .command(let command, let fence):
            let reply = try RegistryReply(decoding: &reader)
            guard reply == oracle.registry?.reply(at: revision) else {
                return fail("client \(client.number) is answered another thing at \(revision) than it was: \(reply)")
            }
            learn(command, reply, under: fence, client)
        }
    }

    func registryRefused(_ ask: RegistryAsk, _ failure: CallFailure, _ client: SimClient) {
        if failure.mayHaveTakenEffect {
            unknownOutcomes += 1
            counters.add(.unknownOutcome)
        }
        guard case .command(let command, let fence) = ask else { return }
        switch failure.error.code {
        case .fenced:
            fencedRefusals += 1
            counters.add(.staleMaster)
            if client.master.fence == fence { client.master.stepDown() }
        case .rejected:
            guard case .frameworkSubscribe(let info, _, _, _) = command,
                failure.error.rule == RegistryRule.frameworkCompleted.rawValue
            else { return }
            // What is over does not come back: it is another one from here on.
            for place in cast.frameworks.indices where cast.frameworks[place].id == info.id {
                cast.frameworks[place].id = []
                cast.frameworks[place].attachedFence = 0
            }
        default: break
        }
    }

    /// The master tells agents and frameworks what concerns them; some of it is lost on the way.
    private func learn(_ command: RegistryCommand, _ reply: RegistryReply, under fence: UInt64, _ client: SimClient) {
        let result: RegistryResult
        switch reply {
        case .changed(let changed): result = changed
        case .unchanged(let same): result = same
        case .postponed: return
        }
        switch (command, result) {
        case (.recover, _):
            if client.master.fence == fence { client.master.hasTakenOver = true }
            guard fence > cast.newestFence else { return }
            if cast.newestFence > 0 { counters.add(.masterFailedOver) }
            cast.newestFence = fence
        case (.agentAdmit(let agent), .generation(let generation)):
            cast.changeAgent(agent.id) {
                $0.learn([], generation: generation)
                $0.attachedFence = fence
                $0.isReportWanted = false
            }
        case (.agentsReregister(let attachments), .attached(let outcomes)):
            for (attachment, outcome) in zip(attachments, outcomes) {
                learn(outcome, attachment.agent.id, under: fence)
            }
        case (.agentReport(let id, let generation, _), .report(let report)):
            // Of what it is by now, and not of what it was when it said so.
            cast.changeAgent(id) { if $0.generation == generation { $0.learn(report) } }
        case (.agentMarkGone(let id), _):
            cast.goneIDs = Array(cast.goneIDs.suffix(5)) + [id]
            cast.changeAgent(id) { $0.beginAnew() }
        case (.frameworkSubscribe(let info, _, _, _), .framework(let id, _)):
            let place = cast.frameworks.firstIndex { $0.info.name == info.name }
            guard let place, info.id.isEmpty || info.id == cast.frameworks[place].id else { return }
            cast.frameworks[place].id = id.bytes
            cast.frameworks[place].attachedFence = fence
        case (.operationsApply(let requests, _), .operations(let outcomes)):
            for (request, outcome) in zip(requests, outcomes) {
                if case .done(let outcome) = outcome { learn(request, outcome) }
            }
        default: break
        }
    }

    private func learn(_ outcome: AttachOutcome, _ id: [UInt8], under fence: UInt64) {
        cast.changeAgent(id) { agent in
            switch outcome {
            case .upToDate: agent.isReportWanted = false
            case .behind(let generation, let entries, _):
                agent.isReportWanted = false
                if generation > agent.generation { agent.learn(entries, generation: generation) }
            case .reportWanted: agent.isReportWanted = true
            case .rejected(let rejection):
                switch RegistryRule(rawValue: String(decoding: rejection.rule, as: UTF8.self)) {
                case .agentGone: agent.beginAnew()
                case .agentDigestMismatch: agent.isReportWanted = true
                // It was removed, and admitted again without knowing of it.
                case .agentGenerationAhead: agent.forget()
                default: break
                }
                return
            }
            agent.attachedFence = fence
        }
    }

    private func learn(_ request: OperationRequest, _ outcome: OperationRow.Outcome) {
        if let place = cast.place(ofOperation: request.uuid) {
            if cast.operations[place].isDone { counters.add(.operationRepeated) }
            cast.changeOperation(at: place) { $0.isDone = true }
        }
        guard let effect = try? OperationEffect(request.kind), registryChance.happens(percent: 85) else { return }
        cast.changeAgent(request.agentID) { $0.learn(effect, generation: outcome.generation) }
    }

    // MARK: - Readers

    /// Those that have lost the registry read it.
    func readersGoOn(of client: SimClient) {
        guard settings.hasRegistry else { return }
        for reader in cast.readers where reader.client == client.number {
            if reader.isLost {
                reader.isLost = false
                reader.revision = .zero
                reader.knownThrough = nil
                // Few rows at a time, so that much happens between two pages.
                let limit = isFaulty ? registryChance.pick([5, 20, 100]) : 0
                readPage(of: reader, PageRequest(limit: UInt32(limit), pinsView: true), view: 0, at: nil)
            } else if !isFaulty || registryChance.happens(percent: 30) {
                readWatch(reader)
            }
        }
        carryOut(client)
    }

    /// - Parameters:
    ///   - view: that an earlier page has pinned; 0: none.
    ///   - address: of the node that keeps it.
    private func readPage(of reader: RegistryReader, _ request: PageRequest, view: UInt64, at address: String?) {
        let client = clients[reader.client]
        let query = Query.registry(view: view, prefix: [], request)
        var item = WorkItem(
            call: .query(query.encoded(), level: view == 0 ? .linearizable : .stale, address: address),
            expectation: .registryPage(reader: reader.number, request), group: nil,
            operation: Operation(client: client.number, called: now.nanoseconds, returned: nil))
        item.isStale = view > 0
        item.isOfView = view > 0
        submit(item, by: client, within: view == 0 ? .seconds(8) : .seconds(3))
    }

    /// Every row of the page is what it was at the revision that all pages of a view show, and none is left out.
    func registryPageAnswered(
        _ number: Int, _ request: PageRequest, _ bytes: inout ByteReader, at revision: LogIndex, from address: String
    ) throws(DecodeError) {
        let reader = cast.readers[number]
        let page = try Page(decoding: &bytes, for: request)
        guard reader.revision == .zero || reader.revision == revision else {
            return fail("reader \(number) is shown \(revision) by a view of \(reader.revision)")
        }
        let expected = oracle.registry?.rows(after: request.after, at: revision) ?? []
        let isRight =
            page.rows.count <= expected.count
            && zip(page.rows, expected).allSatisfy { $0.key == $1.key && $0.value == $1.value }
        guard isRight, page.hasMore == (page.rows.count < expected.count), !page.hasMore || !page.rows.isEmpty else {
            return fail("reader \(number) is shown \(page.rows.count) rows at \(revision), not those of then")
        }
        cast.rowsRead += page.rows.count
        reader.revision = revision
        guard page.hasMore else { return beginWatch(reader, after: revision) }
        var next = request
        next.after = page.cursor
        readPage(of: reader, next, view: page.view, at: address)
    }

    /// Its node is gone, or the view is.
    func registryPageFailed(_ number: Int) {
        cast.readers[number].isLost = true
        if !isFaulty { readersGoOn(of: clients[cast.readers[number].client]) }
    }

    private func beginWatch(_ reader: RegistryReader, after revision: LogIndex) {
        reader.knownThrough = revision
        reader.watch = WatchID(reader.watch.rawValue + 1)
        reader.unread = 0
        var options = WatchOptions(span: .prefix([]), from: revision.next)
        options.table = .registry
        options.progressInterval = .milliseconds(500)
        // Small enough that it is used up.
        options.window = UInt32(registryChance.pick([2_000, 16_000, 64_000]))
        clients[reader.client].state.step(.watchBegun(reader.watch, options, deadline: now + .seconds(3_600)), now: now)
    }

    /// Each revision that changed anything is told once, in order, and whole.
    /// - Returns: whether the watch is one of a reader.
    func readerTold(_ id: WatchID, _ news: WatchNews) -> Bool {
        guard let reader = cast.readers.first(where: { $0.watch == id }), let through = reader.knownThrough else {
            return false
        }
        let next = oracle.registry?.change(after: through)
        switch news {
        case .begun: break
        case .changes(let revision, let changes, _, let size):
            reader.unread += size
            cast.changesTold += changes.count
            if let next, next.revision == revision, next.changes == changes {
                reader.knownThrough = revision
            } else {
                let expected = next.map { "\($0.changes.count) of \($0.revision)" } ?? "none"
                fail(
                    "reader \(reader.number) is told \(changes.count) changes of \(revision) after \(through), not "
                        + expected)
            }
        case .progress(let revision, let size):
            reader.unread += size
            if let next, next.revision <= revision {
                fail("reader \(reader.number) is told that it knows all through \(revision), not \(next.revision)")
            }
            reader.knownThrough = max(through, revision)
        case .ended(let failure):
            guard failure.error.code == .compacted else {
                fail("reader \(reader.number)'s watch ended: \(failure.error.message)")
                return true
            }
            counters.add(.watchCompacted)
            registryPageFailed(reader.number)
            return true
        }
        if !isFaulty || registryChance.happens(percent: 50) { readWatch(reader) }
        return true
    }

    private func readWatch(_ reader: RegistryReader) {
        guard reader.unread > 0 else { return }
        let size = reader.unread
        reader.unread = 0
        clients[reader.client].state.step(.watchRead(reader.watch, size), now: now)
    }

    // MARK: - Checks

    /// Commands between two looks at all rows.
    private static let lookInterval = 50

    /// Now and then, at whoever is the first to have come so far: all rows are what the commands make of them, and
    /// nothing is among them that must never be.
    func checkRegistryRows(of node: SimNode, _ process: SimProcess) {
        guard let registry = oracle.registry, registry.commandCount >= cast.lookedAt + Self.lookInterval else { return }
        lookAtRegistry(registry, node, process)
    }

    private func lookAtRegistry(_ registry: RegistryOracle, _ node: SimNode, _ process: SimProcess) {
        let engine = process.state.machine.engine
        guard process.state.machine.applied.last.index == oracle.lastIndex, !diverged.contains(node.number),
            !process.state.isBroken, engine.damagedRows == nil, engine.readFault == nil
        else { return }
        cast.lookedAt = registry.commandCount
        if let difference = registry.difference(from: engine) { fail("\(node.name): \(difference)") }
        if let finding = registry.audit() { fail("the registry at \(oracle.lastIndex): \(finding)") }
    }

    /// At the end, too; and by then whoever reads it knows all of it.
    func checkRegistry() {
        guard let registry = oracle.registry else { return }
        for node in nodes { if let process = node.process { lookAtRegistry(registry, node, process) } }
        for reader in cast.readers {
            guard let through = reader.knownThrough else {
                fail("reader \(reader.number) does not get to know the registry")
                continue
            }
            if let missing = registry.change(after: through) {
                fail("reader \(reader.number) knows all through \(through), and not what \(missing.revision) changed")
            }
        }
    }
}
