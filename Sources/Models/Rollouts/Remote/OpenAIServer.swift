import Foundation
import Serialization
import Tensors

/// How often, and how patiently, a request is repeated.
public struct RetryPolicy: Sendable, Equatable {
    public var attempts = 6
    /// Seconds before the second attempt; doubled from attempt to attempt.
    public var firstDelay = 0.5
    public var longestDelay = 30.0
    /// Seconds a server may ask us to wait (`Retry-After`).
    public var longestWait = 300.0
    public var seed: UInt64 = 0
    public init() {}

    /// Seconds to wait after failed attempt `attempt` (from 0): between half and all of firstDelay·2^attempt, bounded.
    ///
    /// The jitter keeps requests that failed together from coming back together; it follows from (seed, request, attempt).
    func delay(afterAttempt attempt: Int, request: UInt64) -> Double {
        var random = RandomStream(seed: seed, stream: request, index: UInt64(attempt))
        let full = min(firstDelay * pow(2, Double(min(attempt, 30))), longestDelay)
        return full * (0.5 + 0.5 * random.uniform())
    }
}

/// A server of OpenAI's protocol (vLLM, llama.cpp, `align serve`, …): JSON in, JSON out, transient failures tried again. Threads may share it.
public final class OpenAIServer: Sendable {
    public let url: HTTPURL
    private let client: HTTPClient
    private let key: APIKey?
    private let retry: RetryPolicy
    private let sleep: @Sendable (Double) -> Void

    /// - Parameters:
    ///   - url: With or without `/v1` at its end.
    ///   - sleep: Waits some seconds; tests need not.
    public init(
        _ url: HTTPURL, key: APIKey?, limits: HTTPClient.Limits = .init(), retry: RetryPolicy = .init(),
        sleep: @escaping @Sendable (Double) -> Void = { Thread.sleep(forTimeInterval: $0) }
    ) {
        (self.url, self.key, self.retry, self.sleep) = (url, key, retry, sleep)
        client = HTTPClient(url, limits: limits)
    }

    /// The server at an address, with the key that the environment has for it.
    public convenience init(
        address: String, environment: [String: String] = ProcessInfo.processInfo.environment, limits: HTTPClient.Limits = .init(), retry: RetryPolicy = .init()
    ) throws(RemoteError) {
        let url: HTTPURL
        do throws(HTTPError) { url = try HTTPURL(address) } catch { throw .http(error) }
        self.init(url, key: try APIKey.fromEnvironment(for: url, environment), limits: limits, retry: retry)
    }

    /// For messages and records.
    public var name: String { "\(url.isSecure ? "https" : "http")://\(url.authority)\(url.path)" }

    public struct ServedModel: Sendable, Equatable {
        public var id: String
        /// Who serves it, such as `vllm`.
        public var owner: String?
    }

    /// `/v1/models`; nil where the server has no such list.
    public func models(isCancelled: @escaping @Sendable () -> Bool = { false }) throws(RemoteError) -> [ServedModel]? {
        let answer: JSON
        do throws(RemoteError) { answer = try call("GET", "/models", nil, request: .max, isCancelled) } catch {
            if case .refused(_, 404, _) = error { return nil }
            throw error
        }
        guard let list = answer["data"]?.array else {
            throw .malformed(server: name, field: "\"data\"", found: answer["data"]?.kind ?? "missing", expected: "a list of models")
        }
        return list.prefix(10_000).compactMap { entry in entry["id"]?.string.map { ServedModel(id: $0, owner: entry["owned_by"]?.string) } }
    }

    /// The model to ask for: the one named if the server has it, else its only one.
    public func model(named asked: String?, isCancelled: @escaping @Sendable () -> Bool = { false }) throws(RemoteError) -> ServedModel {
        guard let models = try models(isCancelled: isCancelled) else {
            guard let asked else { throw .ambiguousModel(server: name, served: []) }
            return ServedModel(id: asked, owner: nil)
        }
        if let asked {
            guard let found = models.first(where: { $0.id == asked }) else { throw .wrongModel(server: name, asked: asked, served: models.map(\.id)) }
            return found
        }
        guard models.count == 1 else { throw .ambiguousModel(server: name, served: models.map(\.id)) }
        return models[0]
    }

    /// Posts a request body, repeating it as the retry policy says.
    /// - Parameter request: Its number, which the jitter follows from.
    public func post(_ path: String, _ body: JSON, request: UInt64, isCancelled: @escaping @Sendable () -> Bool = { false }) throws(RemoteError) -> JSON {
        try call("POST", path, body, request: request, isCancelled)
    }

    // MARK: Attempts

    private func call(
        _ method: String, _ path: String, _ body: JSON?, request: UInt64, _ isCancelled: @escaping @Sendable () -> Bool
    ) throws(RemoteError) -> JSON {
        var attempt = 0
        while true {
            let wait: Double
            do throws(Failure) { return try self.attempt(method, path, body, isCancelled) } catch {
                attempt += 1
                guard error.reason.isTransient else { throw error.reason }
                guard attempt < retry.attempts else {
                    // A server that is down says so itself; what else was tried in vain says how often.
                    if case .http(.cannotConnect) = error.reason { throw error.reason }
                    throw .gaveUp(attempts: attempt, last: "\(error.reason)")
                }
                let asked = error.retryAfter ?? 0
                guard asked <= retry.longestWait else { throw .busy(server: name, seconds: asked, limit: retry.longestWait) }
                wait = max(asked, retry.delay(afterAttempt: attempt - 1, request: request))
            }
            try pause(wait, isCancelled)
        }
    }

    /// In pieces, so that a cancellation is seen.
    private func pause(_ seconds: Double, _ isCancelled: @Sendable () -> Bool) throws(RemoteError) {
        var left = seconds
        while left > 0 {
            if isCancelled() { throw .http(.cancelled(peer: name)) }
            let piece = min(left, 0.1)
            sleep(piece)
            left -= piece
        }
    }

    private struct Failure: Error {
        var reason: RemoteError
        var retryAfter: Double?
    }

    private func attempt(_ method: String, _ path: String, _ body: JSON?, _ isCancelled: @escaping @Sendable () -> Bool) throws(Failure) -> JSON {
        var fields: [(name: String, value: String)] = [("Accept", "application/json")]
        if body != nil { fields.append(("Content-Type", "application/json")) }
        if let key { fields.append(key.field) }
        let full = (url.path.hasSuffix("/v1") ? "" : "/v1") + path
        let response: HTTPResponse
        do throws(HTTPError) {
            response = try client.send(HTTPRequest(method, full, fields: fields, body: body.map { Array($0.text().utf8) } ?? []), isCancelled: isCancelled)
        } catch { throw Failure(reason: .http(error)) }
        guard (200..<300).contains(response.status) else {
            let reason = RemoteError.refused(server: name, status: response.status, message: message(of: response))
            throw Failure(reason: reason, retryAfter: response.head["retry-after"].flatMap(Self.seconds))
        }
        do throws(JSONError) { return try JSON.parse(response.body) } catch {
            throw Failure(reason: .malformed(server: name, field: "the body", found: "no valid JSON (\(error))", expected: "an object"))
        }
    }

    /// The server's own words, on one line, without the key.
    private func message(of response: HTTPResponse) -> String {
        let json = try? JSON.parse(response.body)
        let found = json?["error"]?["message"]?.string ?? json?["error"]?.string ?? json?["message"]?.string ?? json?["detail"]?.string
        var text = found ?? String(decoding: response.body.prefix(300), as: UTF8.self)
        text = text.split(whereSeparator: \.isWhitespace).joined(separator: " ")
        while text.hasSuffix(".") { text.removeLast() }
        if let key { text = key.hidden(in: text) }
        return String(text.prefix(500))
    }

    /// `Retry-After`: seconds, or a date.
    static func seconds(_ text: String) -> Double? {
        if let seconds = Double(text.trimmingSpaces), seconds.isFinite { return max(0, seconds) }
        let formatter = DateFormatter()
        formatter.locale = Locale(identifier: "en_US_POSIX")
        formatter.timeZone = TimeZone(identifier: "GMT")
        formatter.dateFormat = "EEE, dd MMM yyyy HH:mm:ss zzz"
        return formatter.date(from: text).map { max(0, $0.timeIntervalSinceNow) }
    }
}
