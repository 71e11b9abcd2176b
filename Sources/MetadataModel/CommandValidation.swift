package import Basics
internal import RegistryModel

/// What a node checks before it logs a client's command, so that the log holds well-formed commands only.
package enum Command {
    /// Checks the whole of `bytes` without keeping any of it; a put allocates nothing. Answers the header, and the feature
    /// level that the command needs.
    /// - Throws: `invalidRequest`, `tooLarge`, `unimplemented`, as the reply to send.
    @discardableResult
    package static func validate(
        _ bytes: RawSpan, valueSizeMax: Int = Limits.valueSizeMaxDefault
    ) throws(ReplyError) -> (header: CommandHeader, featureLevel: UInt32) {
        let header: CommandHeader
        let refusal: ReplyError?
        var ownsRows = false
        do throws(DecodeError) {
            var reader = ByteReader(bytes)
            header = try CommandHeader(decoding: &reader)
            refusal = try Self.refusal(of: header, decoding: &reader, valueSizeMax: valueSizeMax, ownsRows: &ownsRows)
        } catch {
            throw reply(to: error)
        }
        if let refusal { throw refusal }
        return (header, FeatureLevel.needed(by: header, ownsRows: ownsRows))
    }

    private static func refusal(
        of header: CommandHeader, decoding reader: inout ByteReader, valueSizeMax: Int, ownsRows: inout Bool
    ) throws(DecodeError) -> ReplyError? {
        switch header.kind {
        case .put:
            let body = try PutBody(decoding: &reader)
            ownsRows = body.isOwned
            if body.isOwned, header.isOneShot { return ownerlessRefusal }
            return Key.refusal(of: body.key) ?? refusal(ofValueSize: body.value.byteCount, max: valueSizeMax)
        case .delete:
            return Key.refusal(of: try DeleteBody(decoding: &reader).key)
        case .deleteRange:
            let limit = try DeleteRangeBody(decoding: &reader).limit
            guard limit > Limits.rangeDeleteRowsMax else { return nil }
            return ReplyError(.tooLarge, "a range delete of \(limit) rows", limit: UInt64(Limits.rangeDeleteRowsMax))
        case .createSequential, .createOwnedSequential:
            if header.kind == .createOwnedSequential, header.isOneShot { return ownerlessRefusal }
            let body = try CreateSequentialBody(decoding: &reader)
            return Key.refusal(ofPrefix: body.prefix, sizeMax: Key.sequentialPrefixSizeMax)
                ?? refusal(ofValueSize: body.value.byteCount, max: valueSizeMax)
        case .transaction:
            let transaction = try Transaction(decoding: &reader)
            ownsRows = transaction.hasOwnedPuts
            if header.isOneShot, ownsRows { return ownerlessRefusal }
            return transaction.refusal(valueSizeMax: valueSizeMax)
        case .endSession:
            return nil
        case .campaign, .withdraw, .setCandidateData, .acquireLock, .releaseLock, .stateSet, .stateExpunge:
            guard let command = try CoordinationCommand(kind: header.kind, decoding: &reader) else { return nil }
            if header.isOneShot, command.isOwned { return ownerlessRefusal }
            return command.refusal(valueSizeMax: valueSizeMax)
        case .setHistory:
            let body = try SetHistoryBody(decoding: &reader)
            return Key.refusal(ofPrefix: body.prefix.rawSpan)
        case .registry:
            // Whether what it states is right is for its rules to say.
            _ = try RegistryCommand(decoding: &reader)
            guard reader.isAtEnd else { throw .invalid("bytes behind a command of the registry") }
            guard header.mastersFence != nil else { return fencelessRefusal }
            return nil
        case .tick, .expireSessions, .digestVerdict, .deleteFloor, .memberInfo, .featureLevel:
            return ReplyError(.invalidRequest, "housekeeping is the leader's own")
        }
    }

    private static var ownerlessRefusal: ReplyError {
        ReplyError(
            .invalidRequest,
            "a one-shot session ends at once: owned rows, campaigns and locks need a session that stays")
    }

    private static var fencelessRefusal: ReplyError {
        let group = String(decoding: RegistryCommand.electionGroup, as: UTF8.self)
        return ReplyError(
            .invalidRequest, "the registry is the leading master's: guard the command by election \(group), with its fence")
    }

    static func refusal(ofValueSize size: Int, max limit: Int) -> ReplyError? {
        size <= limit ? nil : ReplyError(.tooLarge, "a value of \(size) bytes", limit: UInt64(limit))
    }

    /// The reply to a request whose bytes do not decode.
    package static func reply(to error: DecodeError) -> ReplyError {
        switch error {
        case .unknown("command", _), .unknown("query", _): ReplyError(.unimplemented, error.description)
        case .tooLarge: ReplyError(.tooLarge, error.description)
        case .truncated, .invalid, .checksumMismatch, .unknown: ReplyError(.invalidRequest, error.description)
        }
    }
}

extension CommandHeader {
    /// That of the masters' election, by which every command of the registry is guarded.
    package var mastersFence: UInt64? {
        guards.first { $0.kind == .election && $0.name == RegistryCommand.electionGroup }?.fence
    }
}
