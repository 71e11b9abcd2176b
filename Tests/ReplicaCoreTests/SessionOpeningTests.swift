import Basics
import MetadataModel
import RaftCore
@testable import ReplicaCore
import Testing
import Wire

extension Alone {
    fileprivate mutating func openOnce(_ requestID: UInt64, at time: ClusterTime) {
        receive(on: slot) { writer in
            ClientRequest.encodeMutation(requestID: requestID, mayForward: false, into: &writer) { writer in
                let header = CommandHeader(
                    kind: .put, session: SessionID(2, requestID), sequence: 1,
                    opening: SessionOpening(openedAt: time, timeout: .seconds(10)), isOneShot: true)
                header.encode(into: &writer)
                Mutation.put(key: [1], value: [2]).encodeBody(into: &writer)
            }
        }
    }
}

@Suite("Openings of sessions")
struct SessionOpeningTests {
    private typealias Answered = Alone.Answered

    @Test("a time far ahead of the cluster's is not logged: the session would be remembered until then")
    func farAhead() {
        var node = Alone()
        node.output = []
        let time = node.replica.clusterTime
        let before = node.replica.raft.lastIndex
        node.openOnce(1, at: ClusterTime(nanoseconds: .max))
        node.openOnce(2, at: time + Limits.sessionOpeningAheadMax + .seconds(1))
        let refused = [1, 2].map { Answered(requestID: $0, error: .sessionExpired) }
        #expect(node.takeAnswers() == refused)
        let last = node.replica.raft.lastIndex
        #expect(last == before)
    }

    @Test("a time that is a little ahead, as of a client whose clock runs fast, opens the session")
    func littleAhead() {
        var node = Alone()
        node.output = []
        let time = node.replica.clusterTime
        node.openOnce(1, at: time + Limits.sessionOpeningAheadMax)
        node.openOnce(2, at: time)
        let answers = [1, 2].map { Answered(requestID: $0, error: nil) }
        #expect(node.takeAnswers() == answers)
    }
}
