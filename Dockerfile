# The image holds one static binary and an empty data folder; it has no shell and runs as an unprivileged user.
FROM golang:1.26 AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG VERSION=
ARG BUILD_DATE=
RUN CGO_ENABLED=0 go build -trimpath -ldflags "-s -w -X main.buildVersion=${VERSION} -X main.buildDate=${BUILD_DATE}" -o /out/coap-bridge ./cmd/coap-bridge
RUN install -d -m 0700 /out/data

FROM scratch
COPY --from=build /out/coap-bridge /coap-bridge
COPY --from=build --chown=65532:65532 /out/data /var/lib/coap-bridge
USER 65532:65532
EXPOSE 5684/udp
ENTRYPOINT ["/coap-bridge"]
CMD ["run", "--config", "/etc/coap-bridge/coap-bridge.yaml"]
