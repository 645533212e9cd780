// A caller in Go: makes all nine calls with code generated from the contract, and prints what
// came of them as JSON.
//
//	client ADDRESS PICTURE TOKEN
package main

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"os"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"mediad/mediapb"
)

const (
	messageBytes = 100<<20 + 64<<10
	chunkBytes   = 512 << 10
)

// told is what came of each call, by its name.
type told map[string]json.RawMessage

func (t told) add(name string, answer proto.Message, err error) {
	if err != nil {
		log.Fatalf("%s: %v", name, err)
	}
	format := protojson.MarshalOptions{UseProtoNames: true, EmitUnpopulated: true}
	t[name], err = format.Marshal(answer)
	if err != nil {
		log.Fatal(err)
	}
}

func main() {
	address, picture, token := os.Args[1], os.Args[2], os.Args[3]
	connection, err := grpc.NewClient(
		address,
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultServiceConfig(`{"loadBalancingConfig": [{"round_robin": {}}]}`),
		grpc.WithDefaultCallOptions(
			grpc.MaxCallSendMsgSize(messageBytes), grpc.MaxCallRecvMsgSize(messageBytes),
		),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 30 * time.Second}),
	)
	if err != nil {
		log.Fatal(err)
	}
	defer connection.Close()
	data, err := os.ReadFile(picture)
	if err != nil {
		log.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	ctx = metadata.AppendToOutgoingContext(
		ctx, "authorization", "Bearer "+token, "x-request-id", "from-go",
	)
	answers := told{}
	callAll(ctx, mediapb.NewMediaServiceClient(connection), data, answers)
	printed, err := json.Marshal(answers)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(string(printed))
}

func callAll(ctx context.Context, client mediapb.MediaServiceClient, data []byte, answers told) {
	const user = "carol"
	uploaded, err := client.UploadMedia(ctx, &mediapb.UploadMediaRequest{
		Data:        data,
		Filename:    "photo.jpg",
		ContentType: "image/jpeg",
		UserId:      user,
		Purpose:     mediapb.MediaPurpose_POST_ATTACHMENT,
	})
	answers.add("UploadMedia", uploaded, err)
	streamed, err := uploadStream(ctx, client, &mediapb.UploadMetadata{
		Filename:          "photo.jpg",
		ContentType:       "image/jpeg",
		UserId:            user,
		Purpose:           mediapb.MediaPurpose_POST_ATTACHMENT,
		ExpectedSizeBytes: proto.Int64(int64(len(data))),
	}, data)
	answers.add("UploadMediaStream", streamed, err)
	first, second := uploaded.MediaId, streamed.MediaId
	known, err := client.GetMedia(ctx, &mediapb.GetMediaRequest{MediaId: first})
	answers.add("GetMedia", known, err)
	processed, err := client.ProcessMedia(ctx, &mediapb.ProcessMediaRequest{
		MediaId:           first,
		UserId:            user,
		ProcessingOptions: &mediapb.ProcessingOptions{GenerateThumbnails: true, Quality: 50},
	})
	answers.add("ProcessMedia", processed, err)
	signed, err := client.GetSignedUrl(ctx, &mediapb.GetSignedUrlRequest{
		MediaId: first, ExpirySeconds: 60, Rendition: "320",
	})
	answers.add("GetSignedUrl", signed, err)
	batch, err := client.BatchGetMedia(ctx, &mediapb.BatchGetMediaRequest{
		MediaIds: []string{second, "nonsense", first},
	})
	answers.add("BatchGetMedia", batch, err)
	watched, err := watchUntilDone(ctx, client, first)
	answers.add("WatchMedia", watched, err)
	deleted, err := client.DeleteMedia(ctx, &mediapb.DeleteMediaRequest{
		MediaId: second, UserId: user,
	})
	answers.add("DeleteMedia", deleted, err)
	outcome, err := client.BatchDeleteMedia(ctx, &mediapb.BatchDeleteMediaRequest{
		MediaIds: []string{first, "nonsense"}, UserId: user,
	})
	answers.add("BatchDeleteMedia", outcome, err)
	_, err = client.GetMedia(ctx, &mediapb.GetMediaRequest{MediaId: second})
	answers["refused"] = refused(err)
}

func watchUntilDone(
	ctx context.Context, client mediapb.MediaServiceClient, id string,
) (*mediapb.MediaResponse, error) {
	stream, err := client.WatchMedia(ctx, &mediapb.WatchMediaRequest{MediaId: id})
	if err != nil {
		return nil, err
	}
	var last *mediapb.MediaResponse
	for {
		next, err := stream.Recv()
		if err == io.EOF {
			return last, nil
		}
		if err != nil {
			return nil, err
		}
		last = next
	}
}

func uploadStream(
	ctx context.Context,
	client mediapb.MediaServiceClient,
	about *mediapb.UploadMetadata,
	data []byte,
) (*mediapb.UploadMediaResponse, error) {
	stream, err := client.UploadMediaStream(ctx)
	if err != nil {
		return nil, err
	}
	chunk := &mediapb.UploadChunk{Chunk: &mediapb.UploadChunk_Metadata{Metadata: about}}
	err = stream.Send(chunk)
	// A Send that fails means that the call is over; CloseAndRecv tells why.
	for err == nil && len(data) > 0 {
		next := data[:min(chunkBytes, len(data))]
		data = data[len(next):]
		chunk = &mediapb.UploadChunk{Chunk: &mediapb.UploadChunk_Data{Data: next}}
		err = stream.Send(chunk)
	}
	return stream.CloseAndRecv()
}

func refused(err error) json.RawMessage {
	failure, ok := status.FromError(err)
	if !ok || err == nil {
		log.Fatal("this should have been refused")
	}
	details, marshalError := proto.Marshal(failure.Proto())
	if marshalError != nil {
		log.Fatal(marshalError)
	}
	printed, marshalError := json.Marshal(map[string]any{
		"status":  failure.Code(),
		"message": failure.Message(),
		"details": base64.StdEncoding.EncodeToString(details),
	})
	if marshalError != nil {
		log.Fatal(marshalError)
	}
	return printed
}
