import Basics
import Disk
import Foundation
import LogFormat
import LogStore
import RaftCore
import Testing

/// Every byte of a small sealed log turned, zeroed, and its files cut off there: what is read afterwards is right or
/// known to be wrong, and with two healthy members of three it is whole again.
@Suite struct ByteSweepTests {
    private static let last: UInt64 = 14
    private static let hardState = HardState(currentTerm: Term(3), votedFor: NodeID(5))

    /// All of them take minutes in a debug build; without `QUORATE_SWEEP=all` it is one in thirteen.
    private static let step = ProcessInfo.processInfo.environment["QUORATE_SWEEP"] == "all" ? 1 : 13

    private enum Change: CaseIterable {
        case flipped, zeroed, cutOff
    }

    /// Two terms, a truncation, a vote, a member change, two segments.
    private func sealedLog() throws -> MemoryDisk {
        let disk = MemoryDisk()
        let (log, _) = try open(disk)
        for first in stride(from: UInt64(1), through: 5, by: 2) {
            try log.append([task(slab(first, count: 2, payloadSize: 400), vote: 5)])
        }
        try log.append([task(slab(7, payloadSize: 40, type: .configuration), vote: 5)])
        try log.append([task(nil, term: 3, vote: 5)])
        try log.append([task(slab(6, count: 2, term: 3, payloadSize: 40), term: 3, vote: 5, truncateAfter: 5)])
        for first in 8...Self.last { try log.append([task(slab(first, term: 3, payloadSize: 180), term: 3, vote: 5)]) }
        try log.seal()
        #expect(disk.segments.count == 2)
        return disk
    }

    private var truth: [UInt64: UInt64] { entries(1...5).merging(entries(6...Self.last, term: 3)) { $1 } }

    private func apply(_ change: Change, at offset: Int, to bytes: inout [UInt8]) {
        switch change {
        case .flipped: bytes[offset] ^= UInt8(1 << (offset & 7))
        case .zeroed: bytes[offset] = 0
        case .cutOff: bytes.removeLast(bytes.count - offset)
        }
    }

    @Test("a sealed log: each byte turned, zeroed, the file cut off there; detected or harmless, and healed by two others")
    func everyByteOfTheLog() throws {
        let whole = try sealedLog()
        let peer = try open(whole.copy()).log
        var (harmless, healed, short) = (0, 0, 0)
        for path in whole.segments {
            let end = whole.end(of: path)
            // Between the header and the first batch nothing is ever written or read.
            for offset in 0..<end
            where offset < 160 || offset >= 4_096 || offset % 509 == 0 {
                guard offset % Self.step == 3 % Self.step || offset < 16 else { continue }
                for change in Change.allCases {
                    let disk = whole.copy()
                    apply(change, at: offset, to: &disk.names[path]!.bytes)
                    let what = "\(path) byte \(offset) \(change)"
                    do {
                        let (log, _) = try open(disk)
                        #expect(try contents(log) == truth, "\(what)")
                        #expect(log.hardState == Self.hardState, "\(what)")
                        harmless += 1
                    } catch LogOpenError.damaged(let damages) {
                        #expect(damages.allSatisfy { disk.names[$0.file] != nil }, "\(what)")
                        if try heal(disk, by: peer, what) { healed += 1 } else { short += 1 }
                    }
                }
            }
        }
        print("log sweep: \(harmless) harmless, \(healed) healed, \(short) to be filled by the leader")
        #expect(harmless > 0 && healed > 100)
    }

    /// - Returns: false when the rest has to come from the leader, under the node's promise.
    private func heal(_ disk: MemoryDisk, by peer: SegmentedLog, _ what: String) throws -> Bool {
        let (log, report) = try open(disk, acceptingDamage: true)
        for (index, term) in try contents(log) where index <= Self.last { #expect(truth[index] == term, "\(what)") }
        let healer = LogHealer(
            log, node: node, knowsPromises: report.promisesAreKnown, promised: .zero, voters: [NodeID(8), NodeID(9)],
            applied: .zero)
        for _ in 0..<60 where healer.verdict == .goesOn {
            let question = healer.nextQuestion()
            for other in [NodeID(8), NodeID(9)] { try answer(question, of: healer, by: peer, other) }
        }
        switch healer.verdict {
        case .goesOn:
            Issue.record("\(what): \(healer.need)")
            return false
        case .whole:
            try log.seal()
            let (again, _) = try open(disk)
            #expect(try contents(again) == truth, "\(what)")
            #expect(again.hardState == Self.hardState, "\(what)")
            return true
        case .behindState, .behind:
            Issue.record("\(what): there is no state")
            return false
        case .short(let promised):
            // Bound by no less than it had promised, and not by its vote in a term that it may have voted in.
            #expect(promised >= EntryID(term: Term(3), index: LogIndex(Self.last)), "\(what)")
            #expect(log.hardState.currentTerm >= Term(3), "\(what)")
            #expect(report.promisesAreKnown || log.hardState.votedFor == node, "\(what)")
            try log.cutAtDamage(applied: .zero)
            #expect(log.faultyRanges.isEmpty, "\(what)")
            for (index, term) in try contents(log) { #expect(truth[index] == term, "\(what)") }
            return false
        }
    }

    private func answer(
        _ question: RepairQuestion?, of healer: LogHealer, by peer: SegmentedLog, _ id: NodeID
    ) throws {
        guard let question else {
            let known = KnownPromises(
                currentTerm: peer.hardState.currentTerm, last: peer.last, configurationIndex: .zero)
            try healer.heard(known, voters: nil, from: id)
            return
        }
        let basis = question.basis(committed: .zero) { peer.term(at: $0) }
        let slab = try basis == .nothing
            ? nil
            : peer.read(from: question.wanted.lowerBound, through: question.wanted.upperBound, bytesMax: 1).first
        let answer = RepairAnswer(
            first: slab?.firstIndex ?? question.wanted.lowerBound, basis: basis, isWhole: true, last: peer.last)
        _ = try healer.heard(answer, records: slab?.bytes ?? [], from: id)
    }

    @Test("the note of a promise: each byte turned, zeroed, the file cut off there is as good as no knowledge")
    func everyByteOfThePromise() throws {
        let disk = MemoryDisk()
        let promise = PromiseFile(last: EntryID(term: Term(3), index: LogIndex(77)), isKnown: true)
        try promise.store(in: directory, on: disk, salt: salt, nodeID: node)
        #expect(try PromiseFile.load(from: directory, on: disk, salt: salt, nodeID: node) == promise)
        let path = "\(directory)/\(PromiseFile.name)"
        for offset in 0..<disk.names[path]!.bytes.count {
            for change in Change.allCases {
                let damaged = disk.copy()
                apply(change, at: offset, to: &damaged.names[path]!.bytes)
                let found = try PromiseFile.load(from: directory, on: damaged, salt: salt, nodeID: node)
                let isHarmless = damaged.names[path]!.bytes == disk.names[path]!.bytes
                #expect(found == (isHarmless ? promise : PromiseFile(last: .zero, isKnown: false)), "byte \(offset)")
            }
        }
        #expect(throws: LogOpenError.self) {
            try PromiseFile.load(from: directory, on: disk, salt: salt, nodeID: NodeID(8))
        }
    }
}
