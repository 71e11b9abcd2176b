package import Basics

extension Raft {
    /// How long this node has not heard the leader: zero on the leader itself, nil where none is known.
    package func leaderSilence(at now: Instant) -> Interval? {
        switch role {
        case .leader: .zero
        case .follower(let follower): follower.leader == nil ? nil : max(.zero, now - follower.leaderHeardAt)
        case .preCandidate, .candidate: nil
        }
    }
}
