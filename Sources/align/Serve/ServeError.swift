import Serialization

/// An answer other than 200, in the form that clients of OpenAI's protocol read.
struct ServeError: Error, Equatable {
    var status: Int
    var message: String
    var type = "invalid_request_error"
    /// The member of the body that is wrong.
    var parameter: String?
    var code: String?

    static func bad(_ parameter: String, found: String, expected: String) -> ServeError {
        ServeError(status: 400, message: "'\(parameter)' is \(found), expected \(expected).", parameter: parameter)
    }
    static func notFound(_ target: String) -> ServeError {
        ServeError(status: 404, message: "There is nothing at \(target.prefix(100)); see GET /v1/models, POST /v1/completions, POST /v1/chat/completions, GET /health.", code: "not_found")
    }
    static func unavailable(_ message: String, status: Int = 503) -> ServeError { ServeError(status: status, message: message, type: "server_error", code: "unavailable") }

    var json: JSON {
        [
            "error": [
                "message": .string(message), "type": .string(type), "param": parameter.map { .string($0) } ?? .null, "code": code.map { .string($0) } ?? .null,
            ]
        ]
    }
}
